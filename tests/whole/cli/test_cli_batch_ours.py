"""`proxy-plugin batch` with what only a gateway of this project has: plans, and creates that may be repeated by key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_batch import Asked, Cli, Handler, StandIn, one_line
from tests.support.lines import chat_lines, jsonl

MISSING = {"error": {"message": "Missing required parameter: 'input_file_id'.", "param": "input_file_id"}}
PLAN: dict[str, Any] = {
    "object": "batch.plan",
    "endpoint": "/v1/chat/completions",
    "would_fail": False,
    "request_counts": {"total": 1203, "valid": 1203, "rejected": 0},
    "errors": {"object": "list", "data": []},
    "refused": [],
    "dropped": [{"param": "seed", "lines": 12}],
    "targets": [
        {
            "virtual_key": "lane",
            "provider": "acme",
            "model": "acme-large",
            "endpoint": "/v1/chat/completions",
            "lines": 1203,
            "jobs": 2,
            "bytes": 5_400_000,
            "estimated_usage": {"input_tokens": 52_000, "output_tokens": 9_000},
            "estimated_cost": 0.0731,
        }
    ],
    "jobs": 2,
    "estimated_cost": 0.0731,
    "caveats": ["results are deleted after 29 days"],
}
REJECTED = {"code": "unsupported_parameter", "message": "logprobs cannot be honoured", "param": "logprobs", "line": 7}


class Ours:
    """Knows its own routes and no others. `creates` answers creates one after the other."""

    def __init__(self, plan: object = PLAN, creates: list[Callable[[Handler], None]] | None = None) -> None:
        self.plan, self.creates = plan, creates or []

    def __call__(self, asked: Asked, handler: Handler) -> None:
        route = (asked.method, asked.path.removeprefix("/v1"))
        if route == ("POST", "/files"):
            handler.rfile.read(asked.size)
            handler.reply(200, {"id": "file-1"})
        elif route == ("POST", "/batches/plan"):
            named = asked.json().get("input_file_id")
            handler.reply(200 if named else 400, self.plan if named else MISSING)
        elif route == ("POST", "/batches"):
            self.creates.pop(0)(handler)
        elif route == ("DELETE", "/files/file-1"):
            handler.reply(200, {"id": "file-1", "deleted": True})
        else:
            handler.reply(404, {"error": {"message": f"No such route: {route}."}})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(chat_lines(3)))
    return path


def made(handler: Handler) -> None:
    handler.reply(200, {"id": "batch_1", "status": "validating"})


def lost(handler: Handler) -> None:
    handler.hang_up()


def busy(handler: Handler) -> None:
    handler.reply(503, {"error": {"message": "The gateway is stopping."}})


def full(handler: Handler) -> None:
    handler.reply(507, {"error": {"message": "The disk is full."}}, x_should_retry="false")


def keys(server: StandIn) -> list[str]:
    return [create.headers["idempotency-key"] for create in server.calls("POST", "/v1/batches")]


def test_a_plan_shows_jobs_costs_and_caveats_and_deletes_the_upload(file: Path) -> None:
    with StandIn(Ours()) as server:
        done = Cli(server.url).run("plan", file, "--virtual-key", "lane", "--metadata", "a=b")
        assert done.returncode == 0, done
        [_, asked] = server.calls("POST", "/v1/batches/plan")
        assert asked.json() == {
            "input_file_id": "file-1",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"a": "b"},
        }
        assert len(server.calls("DELETE", "/v1/files/file-1")) == 1
    for words in ("acme-large", "\t52000\t9000\t0.0731\n", "\t5400000\t", "\nseed\t12\n"):
        assert words in done.stdout, words
    assert "results are deleted after 29 days" in done.stderr
    assert "1,203 lines, 0 rejected, 2 native jobs, about $0.0731; nothing was spent" in done.stderr


def test_a_plan_with_bad_lines_shows_them_and_fails(file: Path) -> None:
    errors = {"data": [REJECTED | {"line": n} for n in range(7, 67)], "truncated": True}
    bad = PLAN | {"errors": errors, "request_counts": {"total": 1203, "valid": 1100, "rejected": 103}}
    bad |= {"refused": [{"code": "model_not_allowed", "param": "body.model", "lines": 103}], "would_fail": True}
    with StandIn(Ours(bad)) as server:
        done = Cli(server.url).run("plan", file)
        assert done.returncode == 1
        assert done.stdout.count("unsupported_parameter") == 50
        assert "and 10 more" in done.stderr
        assert "\nmodel_not_allowed\tbody.model\t103\n" in f"\n{done.stdout}", done.stdout
        assert "this batch would fail as a whole" in done.stderr
        assert Cli(server.url).json("plan", file, code=1) == bad


def test_an_upload_is_kept_if_asked_for(file: Path) -> None:
    with StandIn(Ours()) as server:
        done = Cli(server.url).run("plan", file, "--keep")
        assert "file-1" in done.stderr
        assert server.calls("DELETE", "/v1/files/file-1") == []


def test_a_create_whose_answer_is_lost_is_repeated_with_its_key(file: Path) -> None:
    with StandIn(Ours(creates=[lost, busy, made])) as server:
        assert Cli(server.url).json("submit", file)["id"] == "batch_1"
        assert len(keys(server)) == 3
        assert len(set(keys(server))) == 1
        assert len(server.calls("POST", "/v1/files")) == 1, "the file is not sent again"
    with StandIn(Ours(creates=[made, made])) as server:
        for _ in range(2):
            Cli(server.url).json("submit", file)
        assert len(set(keys(server))) == 2, "a second submit is a second batch"
    with StandIn(Ours(creates=[made])) as server:
        Cli(server.url).json("submit", file, "--idempotency-key", "mine")
        assert keys(server) == ["mine"]


def test_a_refusal_that_asks_for_no_retry_is_final(file: Path) -> None:
    with StandIn(Ours(creates=[full])) as server:
        assert "(507): The disk is full." in one_line(Cli(server.url).run("submit", file), 3)
        assert len(server.calls("DELETE", "/v1/files/file-1")) == 1, "nothing needs the upload"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "Invalid API Key."}),
        (400, {"message": "Following keys are not valid: v.", "code": "invalid_virtual_key"}),
        (400, {"message": "The virtual key v is retired.", "code": "virtual_key_retired"}),
        (400, {"message": "A batch needs a provider account.", "param": "x-portkey-provider"}),
    ],
)
def test_what_a_create_would_be_refused_for_is_told_before_the_upload(
    status: int, error: dict[str, str], file: Path
) -> None:
    with StandIn(lambda _, handler: handler.reply(status, {"error": error})) as server:
        for command in ("submit", "plan"):
            assert error["message"] in one_line(Cli(server.url).run(command, file, "--virtual-key", "v"), 3)
        assert server.calls("POST", "/v1/files") == []


def test_metadata_and_endpoint_reach_the_create(file: Path) -> None:
    with StandIn(Ours(creates=[made])) as server:
        options = ("--endpoint", "/v1/embeddings", "--completion-window", "7d", "--metadata", "team=é")
        Cli(server.url).json("submit", file, *options)
        [create] = server.calls("POST", "/v1/batches")
        assert json.loads(create.body) == {
            "input_file_id": "file-1",
            "endpoint": "/v1/embeddings",
            "completion_window": "7d",
            "metadata": {"team": "é"},
        }
