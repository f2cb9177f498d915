"""`proxy-plugin batch` as a client of a hosted gateway: only what OpenAI's and Portkey's documents name is there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_batch import Asked, Cli, Done, Handler, StandIn, check_manners, one_line, variables
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY
from tests.support.waiting import until

LANE = ("--virtual-key", "lane")
ROWS = {"file-out": b'{"custom_id": "a"}\n{"custom_id": "c"}', "file-err": b'{"custom_id": "b"}\n'}


class Hosted:
    """A strict gateway of somebody else. `polls` answers to a status pass until a batch has ended."""

    def __init__(self) -> None:
        self.forms: list[EmailMessage] = []
        self.batches: list[dict[str, Any]] = []
        self.polls = 2
        self.lose_create = self.keep_lost = False
        self.include_is_refused = False
        self.read_uploads = threading.Event()
        self.read_uploads.set()

    def __call__(self, asked: Asked, handler: Handler) -> None:
        assert asked.headers["x-portkey-api-key"] == KEY
        if asked.headers.get("x-portkey-virtual-key") != "lane":
            handler.reply(400, {"error": {"message": "No provider account given."}})
            return
        path, _, query = asked.path.removeprefix("/v1/").partition("?")
        steps = path.split("/")
        known = {
            ("POST", "files", 1): self._upload,
            ("GET", "files", 3): self._content,
            ("DELETE", "files", 2): self._delete,
            ("POST", "batches", 1): self._create,
            ("GET", "batches", 1): self._list,
            ("GET", "batches", 2): self._batch,
        }.get((asked.method, steps[0], len(steps)))
        if known is None or ("include" in query and self.include_is_refused):
            handler.reply(400 if known else 404, {"status": "failure", "message": "Not Found"})
            return
        known(asked, handler, steps)

    def _upload(self, asked: Asked, handler: Handler, _: list[str]) -> None:
        assert "transfer-encoding" not in asked.headers
        head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
        start = handler.rfile.read(50)
        self.read_uploads.wait(60)
        if asked.size > 1_000_000:
            left = asked.size - len(start)
            while left and (piece := handler.rfile.read(min(left, 1 << 20))):  # nothing comes of a client that is gone
                left -= len(piece)
        else:
            body = start + handler.rfile.read(asked.size - len(start))
            self.forms.append(BytesParser(policy=HTTP).parsebytes(head + body))
        handler.reply(200, {"id": f"file-{len(self.forms)}", "object": "file"})

    def _delete(self, _: Asked, handler: Handler, steps: list[str]) -> None:
        handler.reply(200, {"id": steps[1], "deleted": True})

    def _content(self, _: Asked, handler: Handler, steps: list[str]) -> None:
        handler.reply(200, ROWS[steps[1]], content_type="application/octet-stream")

    def _create(self, asked: Asked, handler: Handler, _: list[str]) -> None:
        made = {"id": f"batch_{len(self.batches) + 1}", "object": "batch", "status": "validating", "polls": 0}
        if not (self.lose_create and not self.keep_lost):
            self.batches.insert(0, made | asked.json())
        if self.lose_create:
            handler.hang_up()
        else:
            handler.reply(200, self.batches[0])

    def _list(self, asked: Asked, handler: Handler, _: list[str]) -> None:
        query = dict(pair.split("=") for pair in asked.path.partition("?")[2].split("&"))
        start = next((n + 1 for n, batch in enumerate(self.batches) if batch["id"] == query.get("after")), 0)
        page = self.batches[start : start + int(query["limit"])]
        more = start + len(page) < len(self.batches)
        handler.reply(200, {"object": "list", "data": page, "has_more": more})

    def _batch(self, _: Asked, handler: Handler, steps: list[str]) -> None:
        batch = next((batch for batch in self.batches if batch["id"] == steps[1]), None)
        if batch is None:
            handler.reply(404, {"error": {"message": f"No batch found with id '{steps[1]}'."}})
            return
        batch["polls"] += 1
        if batch["polls"] > self.polls:
            batch |= {"status": "completed", "output_file_id": "file-out", "error_file_id": "file-err"}
            batch["request_counts"] = {"total": 3, "completed": 2, "failed": 1}
        handler.reply(200, batch)


@pytest.fixture
def hosted() -> Hosted:
    return Hosted()


@pytest.fixture
def server(hosted: Hosted) -> Iterator[StandIn]:
    with StandIn(hosted) as running:
        yield running
        hosted.read_uploads.set()


@pytest.fixture
def cli(server: StandIn) -> Cli:
    return Cli(server.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'my "own" lines é.jsonl'
    path.write_bytes(jsonl(chat_lines(3)))
    return path


def test_submit_watch_output_works_with_a_key_and_an_account(
    cli: Cli, hosted: Hosted, server: StandIn, file: Path, tmp_path: Path
) -> None:
    done = cli.run("submit", file, *LANE, "--watch", "--output", tmp_path / "out")
    assert done.returncode == 1, "one line failed"
    assert (tmp_path / "out").read_bytes() == b'{"custom_id": "a"}\n{"custom_id": "c"}\n{"custom_id": "b"}\n'
    [form] = hosted.forms
    purpose, content = form.iter_parts()
    assert (purpose.get_param("name", header="content-disposition"), purpose.get_payload()) == ("purpose", "batch")
    assert content.get_payload(decode=True) == file.read_bytes()
    assert content.get_param("filename", header="content-disposition") == "my %22own%22 lines é.jsonl"
    [create] = server.calls("POST", "/v1/batches")
    assert create.json() == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    assert "batch retry" not in done.stdout, "there is no such thing here"


@pytest.mark.parametrize("refused", [False, True])
def test_status_does_without_jobs(cli: Cli, hosted: Hosted, file: Path, refused: bool) -> None:
    hosted.include_is_refused = refused
    batch_id = cli.json("submit", file, *LANE)["id"]
    assert cli.json("status", batch_id, *LANE)["status"] == "validating"
    assert cli.json("status", *LANE)["id"] == batch_id
    assert cli.run("status", batch_id, *LANE, "--watch").returncode == 1
    assert "no batch is unfinished" in cli.run("status", *LANE).stderr
    assert "batch_none" in one_line(cli.run("status", "batch_none", *LANE), 3)


def test_routes_that_only_ours_has_are_said_to_be_missing(
    cli: Cli, hosted: Hosted, server: StandIn, file: Path
) -> None:
    hosted.polls = 100
    assert "cannot plan" in one_line(cli.run("plan", file, *LANE), 3)
    assert hosted.forms == [], "not uploaded first"
    batch_id = cli.json("submit", file, *LANE)["id"]
    assert "cannot retry" in one_line(cli.run("retry", batch_id, *LANE), 3)
    assert "no output" in one_line(cli.run("output", batch_id, *LANE), 1)
    assert len(server.calls("POST", "/v1/batches")) == 1


def test_lines_of_a_hosted_gateway(hosted: Hosted, file: Path) -> None:
    """`lines` sends no account: its --virtual-key chooses lines."""
    with StandIn(hosted) as server:
        assert "cannot show the lines" in one_line(Cli(server.url).run("lines", "batch_1"), 3)


def test_a_create_without_an_answer_is_looked_up_and_not_sent_again(
    cli: Cli, hosted: Hosted, server: StandIn, file: Path
) -> None:
    hosted.lose_create = hosted.keep_lost = True
    assert cli.json("submit", file, *LANE)["id"] == "batch_1"
    hosted.keep_lost = False
    assert "is not known" in one_line(cli.run("submit", file, *LANE), 2)
    assert len(server.calls("POST", "/v1/batches")) == 2, "one for each submit"


def test_list_reads_every_page(cli: Cli, hosted: Hosted) -> None:
    hosted.batches = [{"id": f"batch_{n}", "status": "completed"} for n in range(250)]
    everything = cli.run("list", "--all", "--json", *LANE).stdout.splitlines()
    assert [json.loads(line)["id"] for line in everything] == [batch["id"] for batch in hosted.batches]
    some = cli.run("list", "--limit", "120", "--json", *LANE).stdout.splitlines()
    assert [json.loads(line)["id"] for line in some] == [f"batch_{n}" for n in range(120)]


def test_ctrl_c_while_the_file_is_sent_submits_nothing(
    cli: Cli, hosted: Hosted, server: StandIn, tmp_path: Path
) -> None:
    big = tmp_path / "big.jsonl"
    big.write_bytes(jsonl(chat_lines(1)) + b" " * 50_000_000)
    hosted.read_uploads.clear()
    with cli.started("submit", big, *LANE, "--watch") as submit:
        until(lambda: server.calls("POST", "/v1/files"), "an upload")
        done = submit.interrupted()
    assert (done.returncode, done.stdout) == (130, "")
    assert "nothing was submitted" in done.stderr
    hosted.read_uploads.set()
    assert server.calls("POST", "/v1/batches") == []


def test_ctrl_c_in_a_plan_spends_nothing(hosted: Hosted, tmp_path: Path, file: Path) -> None:
    planning = threading.Event()

    def answer(asked: Asked, handler: Handler) -> None:
        if not asked.path.endswith("/plan"):
            hosted(asked, handler)
        elif asked.json():
            planning.wait(60)
        else:
            handler.reply(400, {"error": {"message": "Missing.", "param": "input_file_id"}})

    with StandIn(answer) as server:
        with Cli(server.url).started("plan", file, *LANE) as plan:
            until(lambda: len(server.calls("POST", "/v1/batches/plan")) == 2, "a plan that is asked for")
            done = plan.interrupted()
        planning.set()
        assert done.returncode == 130
        assert "nothing was spent" in done.stderr
        assert len(server.calls("DELETE", "/v1/files/file-1")) == 1, "the upload does not stay"


def test_bring_your_own_key(server: StandIn, tmp_path: Path) -> None:
    one_line(Cli(server.url).run("list", "--provider", "acme", "--provider-key", "sk-own"), 3)
    one_line(Cli(server.url, env={"PROXY_PLUGIN_PROVIDER_KEY": "sk-env"}).run("list", "--provider", "acme"), 3)
    one_line(Cli(server.url, env={"PROXY_PLUGIN_PROVIDER_KEY": "sk-env"}).run("list", "--provider", "@slug"), 3)
    sent = [(one.headers["x-portkey-provider"], one.headers.get("authorization")) for one in server.asked]
    assert list(dict.fromkeys(sent)) == [("acme", "Bearer sk-own"), ("acme", "Bearer sk-env"), ("@slug", None)]
    one_line(Cli(server.url).run("list", "--config", '{"name": "ключ"}'), 3)
    assert server.asked[-1].headers["x-portkey-config"] == r'{"name": "\u043a\u043b\u044e\u0447"}'


MEASURED = """
import resource, sys
from proxy_plugin.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=open(sys.argv[-1] + '.peak', 'w'))
sys.exit(code)
"""


def peak_of_upload(server: StandIn, path: Path, size: int) -> int:
    """Return the most memory, in KiB, that a process took to submit a file of so many bytes."""
    path.write_bytes(jsonl(chat_lines(1)))
    with path.open("ab") as file:
        file.truncate(size)
    command = [sys.executable, "-c", MEASURED, "batch", "submit", *LANE, str(path)]
    done: Done = subprocess.run(command, capture_output=True, encoding="utf-8", env=variables(server.url))
    check_manners(done, KEY)
    assert done.returncode == 0, done
    return int(Path(f"{path}.peak").read_text())


def test_an_upload_takes_the_same_memory_whatever_its_size(server: StandIn, tmp_path: Path) -> None:
    small = peak_of_upload(server, tmp_path / "small.jsonl", 2_000_000)
    large = peak_of_upload(server, tmp_path / "large.jsonl", 200_000_000)
    assert large - small < 4_096
    assert server.calls("POST", "/v1/files")[1].size > 200_000_000
