"""`list`, `watch`, `files`, `models`, `replicas` and `webhooks` before a gateway that answers from a table."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from proxy_plugin.commands import showing
from proxy_plugin.commands.display import Display
from proxy_plugin.commands.drawing import draw_batch
from proxy_plugin.commands.gateway import Remote
from proxy_plugin.commands.options import parse
from proxy_plugin.commands.problems import Declined, Interrupted, Refused
from proxy_plugin.commands.session import Session
from proxy_plugin.commands.things.files import files
from proxy_plugin.commands.things.models import models
from proxy_plugin.commands.things.replicas import replicas
from proxy_plugin.commands.things.webhooks import webhooks


class Table:
    """A transport. `answers`: METHOD and path, without its query, to what is answered, one after the other."""

    def __init__(self, answers: Mapping[str, list[Any]]) -> None:
        self.answers = {route: list(found) for route, found in answers.items()}
        self.asked: list[tuple[str, object]] = []

    def call(self, method: str, path: str, body: object = None, **_: object) -> Any:
        self.asked.append((f"{method} {path}", body))
        found = self.answers.get(f"{method} {path.partition('?')[0]}")
        if not found:
            raise Refused(404, "no such route")
        return found.pop(0) if len(found) > 1 else found[0]


def session(table: Table, *words: str) -> Session:
    options = parse(words)
    display = Display(as_json=options.json, fields=options.fields)
    return Session(options, display, Remote(table))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr("proxy_plugin.commands.watching.time.sleep", paused.append)
    return paused


def batch(number: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    counts = {"total": 2, "completed": 2, "failed": 0}
    made = {"id": f"batch_{number}", "status": status, "created_at": 1_700_000_000 + number, "request_counts": counts}
    return made | {"input_file_id": f"file-{number}"} | more


def page(*batches: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(batches), "has_more": more}


def test_list_chooses_and_reads_no_page_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    pages = [page(batch(9), batch(8, "failed"), more=True), page(batch(7, "failed"), batch(3, "failed"), more=True)]
    table = Table({"GET /batches": pages, "GET /files/file-8": [{"id": "file-8", "filename": "in.jsonl"}]})
    since = "2023-11-14T22:13:25+00:00"
    words = ("list", "--status", "failed,expired", "--since", since, "--fields", "id,x_file")
    assert showing.list_batches(session(table, *words)) == 0
    assert capsys.readouterr().out == "batch_8\tin.jsonl\nbatch_7\t\n"
    asked = [each for each, _ in table.asked]
    assert asked[:2] == ["GET /batches?limit=100&include=jobs", "GET /batches?limit=100&include=jobs&after=batch_8"]
    assert sorted(asked[2:]) == ["GET /files/file-7", "GET /files/file-8"]


@pytest.mark.parametrize(("words", "left"), [((), ["batch_1", "batch_2"]), (("batch_2", "batch_2"), ["batch_2"])])
def test_many_batches_are_followed_to_their_ends(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], left: list[str]
) -> None:
    failed = {"total": 2, "completed": 1, "failed": 1}
    runs, more = batch(1, "in_progress"), batch(2, "in_progress")
    table = Table(
        {
            "GET /batches": [page(batch(3), runs, more)],
            "GET /batches/batch_1": [runs, runs, batch(1)],
            "GET /batches/batch_2": [more, batch(2, request_counts=failed)],
        }
    )
    assert showing.watch_batches(session(table, "watch", *words, "--json")) == 1, "one of them has a failed line"
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(each["id"] for each in found) == left
    assert {each["status"] for each in found} == {"completed"}


def test_ctrl_c_names_those_that_have_not_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proxy_plugin.commands.watching.time.sleep", interrupt)
    answers = {f"GET /batches/batch_{n}": [batch(n, status)] for n, status in ((1, "in_progress"), (2, "completed"))}
    with pytest.raises(Interrupted, match=r"1 batch goes on .*: proxy-plugin batch watch batch_1$"):
        showing.watch_batches(session(Table(answers), "watch", "batch_1", "batch_2"))
    assert capsys.readouterr().out == ""


def test_files_are_listed_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    file = {"id": "file-1", "filename": "a.jsonl", "bytes": 12, "purpose": "batch", "status": "processed"}
    table = Table({"GET /files": [page(file)], "DELETE /files/file-1": [{"id": "file-1", "deleted": True}]})
    assert files(session(table, "files", "list", "--purpose", "batch")) == 0
    [heads, row] = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert dict(zip(heads, row, strict=True))["size"] == "12"
    assert table.asked == [("GET /files?limit=20&purpose=batch", None)]
    assert files(session(table, "files", "delete", "file-1")) == 0
    assert "deleted file-1" in capsys.readouterr().err
    with pytest.raises(Refused):
        files(session(table, "files", "delete", "file-2"))


def test_replicas_are_listed_with_their_steps(capsys: pytest.CaptureFixture[str]) -> None:
    one = {"id": "a-1", "status": "alive", "version": "1.0", "started_at": 9, "seen_at": 9, "gone_at": None}
    told = one | {"steps": {"fetch": 2, "poll": 1}, "duties": ["webhooks"]}
    assert replicas(session(Table({"GET /replicas": [page(told)]}), "replicas")) == 0
    heads, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert heads == ["replica", "status", "version", "started", "seen", "steps", "duties"]
    assert (row[:3], row[5:]) == (["a-1", "alive", "1.0"], ["fetch 2, poll 1", "webhooks"])
    with pytest.raises(Declined, match="has no replicas"):
        replicas(session(Table({}), "replicas"))


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table({"GET /models": [page({"id": "@prod/m-1", "owned_by": "openai"})]})
    assert models(session(table, "models")) == 0
    assert capsys.readouterr().out == "model\tprovider\n@prod/m-1\topenai\n"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["list"], ("GET /webhooks?limit=100", None)),
        (
            ["add", "https://a.example", "--events", "batch.completed,batch.failed", "--name", "ours"],
            (
                "POST /webhooks",
                {"url": "https://a.example", "event_types": ["batch.completed", "batch.failed"], "name": "ours"},
            ),
        ),
        (["add", "https://a.example"], ("POST /webhooks", {"url": "https://a.example"})),
        (["delete", "we_1"], ("DELETE /webhooks/we_1", None)),
        (["rotate", "we_1"], ("POST /webhooks/we_1/rotate_secret", {})),
        (
            ["rotate", "we_1", "--keep"],
            ("POST /webhooks/we_1/rotate_secret", {"keep_old_secret_active_for_24_hours": True}),
        ),
        (["secret"], ("GET /webhooks/secret", None)),
        (["test", "we_1"], ("POST /webhooks/we_1/test", {})),
        (["test", "we_1", "--event", "batch.failed"], ("POST /webhooks/we_1/test", {"event_type": "batch.failed"})),
        (["deliveries"], ("GET /webhooks/deliveries?limit=20", None)),
        (["deliveries", "we_1", "--all"], ("GET /webhooks/we_1/deliveries?limit=100", None)),
        (["deliveries", "--batch", "b", "--limit", "1"], ("GET /webhooks/deliveries?limit=1&batch_id=b", None)),
        (["replay", "wd_1"], ("POST /webhooks/deliveries/wd_1/replay", {})),
    ],
)
def test_webhooks_ask_the_routes_of_webhooks(words: list[str], asked: tuple[str, object]) -> None:
    answer = {"id": "we_1", "signing_secret": "whsec_x", "data": [{"id": "we_1", "event_types": ["batch.failed"]}]}
    table = Table({asked[0].partition("?")[0]: [answer]})
    assert webhooks(session(table, "webhooks", *words)) == 0
    assert table.asked == [asked]
    with pytest.raises(Declined, match="no webhooks"):
        webhooks(session(Table({}), "webhooks", *words))


def test_the_next_try_of_a_delivery_is_not_ago(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"id": "wh_1", "created_at": 1_700_000_000, "next_attempt_at": time.time() + 60}
    asked = session(Table({"GET /webhooks/deliveries": [page(one)]}), "webhooks", "deliveries")
    monkeypatch.setattr(asked.display, "terminal", True)
    assert webhooks(asked) == 0
    assert capsys.readouterr().out.count(" ago)") == 1


@pytest.mark.parametrize(("more", "told"), [((), True), (("--output", "answers.jsonl"), False)])
def test_output_that_is_fetched_is_not_asked_for(
    capsys: pytest.CaptureFixture[str], more: tuple[str, ...], told: bool
) -> None:
    draw_batch(session(Table({}), "submit", "lines.jsonl", "--watch", *more), batch(1, output_file_id="file-2"))
    assert ("get the output" in capsys.readouterr().err) is told
