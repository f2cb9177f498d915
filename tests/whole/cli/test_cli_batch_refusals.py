"""`proxy-plugin batch` where something is wrong: one sentence with its remedy, an exit code, and nothing half done."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_batch import COMMAND, Asked, Cli, Handler, StandIn, one_line
from tests.support.lines import chat_lines, jsonl
from tests.support.ports import free_port
from tests.support.stack import KEY

BATCH = {"id": "batch_1", "object": "batch", "status": "completed", "request_counts": {"total": 2, "completed": 2}}
FILES = [*COMMAND[:-1], "files", "list", "--limit", "0"]
NOWHERE = Cli("http://127.0.0.1:9/v1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(chat_lines(3)))
    return path


def always(status: int, value: object, **more: Any) -> Callable[[Asked, Handler], None]:
    return lambda _, handler: handler.reply(status, value, **more)


# ---- before anything is sent ----


def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    contents = {
        "empty": b"",
        "blank": b"\n \n\n",
        "no json": b"{oops\n",
        "no url": b'{"custom_id": "1"}\n',
        "list": b"[]\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    says = {
        "missing": "there is no file",
        ".": "is a directory",
        "pipe": "not a regular file",
        "empty": "is empty",
        "blank": "nothing but blank lines",
        "no json": "--endpoint",
        "no url": "--endpoint",
        "list": "--endpoint",
    }
    for name, words in says.items():
        for command in ("submit", "plan"):
            assert words in one_line(NOWHERE.run(command, tmp_path / name), 2), name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--metadata", "team"], "NAME=VALUE"),
        (["--metadata", "a=1", "--metadata", "a=2"], "twice"),
        (["--output", "out.jsonl"], "--watch"),
        (["--watch", "--output", "/"], "is a directory"),
        (["--watch", "--output", "/nowhere/out"], "no directory"),
        (["--idempotency-key", "line\nbreak"], "--idempotency-key"),
        (["--config", "{oops"], "--config"),
        (["--virtual-key", "ключ"], "--virtual-key"),
        (["--base-url", "127.0.0.1:8787"], "--base-url"),
        (["--base-url", "ftp://h/v1"], "--base-url"),
        (["--base-url", "http://h:99999/v1"], "--base-url"),
        (["--base-url", "http://user:secret@h/v1"], "--base-url"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_sent(
    arguments: list[str], says: str, file: Path
) -> None:
    assert says in one_line(NOWHERE.run("submit", file, *arguments), 2)


def test_a_key_that_no_header_can_carry_is_not_repeated(file: Path) -> None:
    for key in ("sk-broken\nkey", "sk-\x1b[31m", "sk-ключ"):
        done = NOWHERE.run("submit", file, "--api-key", key)
        assert "PORTKEY_API_KEY" in one_line(done, 2)
        assert "sk-" not in done.stderr


def test_wrong_usage_is_told_by_argparse() -> None:
    for wrong in ([], ["submit"], ["list", "--limit", "0"], ["lines", "b", "--after", "x"], ["status", "b", "--odd"]):
        done = NOWHERE.run(*wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: proxy-plugin batch" in done.stderr
    assert "usage: proxy-plugin files" in subprocess.run(FILES, capture_output=True, text=True).stderr
    both = NOWHERE.run("list", "--virtual-key", "a", "--provider", "b")
    assert "not allowed with" in both.stderr


def test_every_help_documents_the_exit_codes() -> None:
    for command in (
        [],
        ["submit"],
        ["plan"],
        ["status"],
        ["list"],
        ["cancel"],
        ["output"],
        ["lines"],
        ["retry"],
        ["watch"],
    ):
        done = NOWHERE.run(*command, "--help")
        assert done.returncode == 0
        assert all(re.search(rf"^  {code} +\w", done.stdout, re.M) for code in (0, 1, 2, 3, 130, 141)), command


# ---- nobody there, or nobody we know ----


def test_a_gateway_that_is_not_there(file: Path) -> None:
    line = one_line(Cli(f"http://127.0.0.1:{free_port()}/v1").run("submit", file), 2)
    assert "connection refused" in line
    assert "proxy-plugin serve" in line
    unknown = one_line(Cli("http://no-such-host.invalid/v1").run("list"), 2)
    assert "no-such-host.invalid" in unknown


@contextmanager
def saying(content: bytes) -> Iterator[str]:
    """Accept connections, say something to each without reading, and close."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(content)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "closed the connection early"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", "closed the connection early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "closed the connection early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "no object"),
    ],
)
def test_what_is_no_gateway_is_told_in_one_sentence(content: bytes, says: str, file: Path) -> None:
    with saying(content) as url:
        assert says in one_line(Cli(url).run("list"), 2)
        assert says in one_line(Cli(url).run("submit", file), 2)


def test_a_web_page_is_no_answer(file: Path) -> None:
    page = b"<html><body>Welcome</body></html>"
    with StandIn(always(200, page, content_type="text/html")) as server:
        for command in (
            ["list"],
            ["status", "b"],
            ["output", "b"],
            ["lines", "b"],
            ["submit", str(file)],
            ["cancel", "b"],
        ):
            assert "--base-url" in one_line(Cli(server.url).run(*command), 2), command
    with StandIn(always(502, page, content_type="text/html")) as server:
        assert "(502): Bad Gateway" in one_line(Cli(server.url).run("list"), 3)


def test_a_redirect_is_not_followed() -> None:
    with StandIn(always(200, {"data": []})) as other:
        with StandIn(lambda _, handler: handler.reply(307, {}, Location=f"{other.url}/batches")) as server:
            assert "redirect" in one_line(Cli(server.url).run("list"), 2)
        assert other.asked == [], "the key stays with the gateway that it is for"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "why not", "type": "x", "param": None, "code": None}},
        {"error": "why not"},
        {"status": "failure", "message": "why not"},
    ],
)
def test_the_gateways_own_words_are_shown(body: object) -> None:
    with StandIn(always(403, body)) as server:
        assert "(403): why not." in one_line(Cli(server.url).run("list"), 3)


# ---- an upload that is refused half-way ----


def test_a_refusal_that_comes_early_ends_the_upload(tmp_path: Path) -> None:
    big = tmp_path / "big.jsonl"
    big.write_bytes(jsonl(chat_lines(1)) + b"x" * 64_000_000)

    def answer(asked: Asked, handler: Handler) -> None:
        handler.close_connection = True
        size = 413 if asked.path.endswith("/files") else 404
        handler.reply(size, {"error": {"message": "The file is larger than 50 MB."}})
        if size == 413:
            handler.rfile.read(1_000_000)  # as a gateway does, so that the answer is not lost in a reset

    with StandIn(answer) as server:
        done = Cli(server.url).run("submit", big, "--virtual-key", "v")
        assert "larger than 50 MB" in one_line(done, 3)
        assert server.calls("POST", "/v1/batches") == []


def test_a_file_that_changes_while_it_is_sent_is_not_submitted(tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    path.write_bytes(jsonl(chat_lines(1)) + b" " * 8_000_000)

    def answer(asked: Asked, handler: Handler) -> None:
        if not asked.path.endswith("/files"):
            handler.reply(404, {"message": "no route"})
            return
        handler.rfile.read(100_000)
        with path.open("ab") as growing:
            growing.write(b"more\n")
        handler.rfile.read(asked.size - 100_000)
        handler.reply(200, {"id": "file-1"})

    with StandIn(answer) as server:
        assert "changed while it was uploaded" in one_line(Cli(server.url).run("submit", path), 2)
        assert server.calls("POST", "/v1/batches") == []


# ---- results that break off ----


def cut(_: Asked, handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"custom_id": "1"}\n')
    handler.hang_up()


def test_an_output_that_is_cut_off_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("the old results")
    with StandIn(cut) as server:
        done = Cli(server.url).run("output", "batch_1", "--output", target)
        assert "closed the connection early" in one_line(done, 2)
        assert "closed the connection early" in Cli(server.url).run("output", "batch_1").stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert target.read_text() == "the old results"


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with StandIn(always(200, b"x" * 100_000)) as server:
        assert "No space left" in one_line(Cli(server.url).run("output", "batch_1", "--output", "/dev/full"), 2)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with StandIn(always(200, b"{}\n")) as server:
        assert Cli(server.url).run("output", "batch_1", "--output", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "{}\n"


# ---- what a gateway sends is only text ----

EVIL = "\x1b[31m[red]bold[/red] :smile: \x9b2J\r\n\u202eback\x07\x7f"


def test_no_text_of_a_gateway_commands_the_terminal() -> None:
    job = {"part": 0, "status": "refused", "virtual_key": EVIL, "error": {"code": EVIL, "message": EVIL}, "note": EVIL}
    batch = BATCH | {"endpoint": EVIL, "status": EVIL, "metadata": {EVIL: EVIL}, "jobs": [job]}
    batch |= {"errors": {"data": [{"line": 1, "code": EVIL, "message": EVIL}]}}
    with StandIn(always(200, batch)) as server:
        done = Cli(server.url).run("status", "batch_1")
        assert done.returncode == 0
        assert "[red]bold[/red] :smile:" in done.stdout, "shown as it is, not drawn"
        assert "\u202e" not in done.stdout
    with StandIn(always(400, {"error": {"message": EVIL}})) as server:
        assert "[red]bold[/red]" in one_line(Cli(server.url).run("cancel", "batch_1"), 3)
    line = {"line": 1, "custom_id": EVIL, "outcome": EVIL}
    with StandIn(always(200, line)) as server:
        assert "[red]bold[/red]" in Cli(server.url).run("lines", "batch_1").stdout
        assert Cli(server.url).run("lines", "batch_1", "--json").stdout.isascii()


def test_what_a_second_sending_has_cost_is_said() -> None:
    jobs = [
        {"part": 0, "status": "collected", "sent_again_on_a_guess": True},
        {"part": 1, "status": "running", "sent_again_on_a_guess": True, "doubled_jobs": ["msgbatch_7"]},
        {"part": 2, "status": "planned", "note": "waits for room on its virtual key"},
    ]
    with StandIn(always(200, BATCH | {"jobs": jobs})) as server:
        said = Cli(server.url).run("status", "batch_1").stderr
    assert "job 0 was sent again on a guess" in said
    assert "job 1 IS DOUBLED: msgbatch_7" in said
    assert "job 2 waits: waits for room" in said


def test_a_batch_that_needs_its_caller_says_so_once() -> None:
    needs = BATCH | {"status": "in_progress", "errors": {"data": [{"code": "x", "message": "send your key"}]}}
    polls = [needs, needs, needs, BATCH]
    with StandIn(lambda _, handler: handler.reply(200, polls.pop(0))) as server:
        done = Cli(server.url).run("status", "batch_1", "--watch")
    assert done.returncode == 0
    assert done.stderr.count("the batch needs you: send your key") == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"request_counts": None, "jobs": None, "errors": None, "metadata": None},
        {"request_counts": [], "jobs": {}, "errors": [], "metadata": [], "created_at": "now", "usage": 3},
        {"request_counts": {"total": "x"}, "jobs": [1, {}], "errors": {"data": 5}, "created_at": 1e300, "status": None},
    ],
)
def test_a_batch_of_an_odd_shape_is_shown_as_far_as_it_goes(odd: dict[str, Any]) -> None:
    with StandIn(always(200, BATCH | odd)) as server:
        done = Cli(server.url).run("status", "batch_1")
        assert done.returncode == 0, done
        assert "batch_1" in done.stdout


def test_the_key_goes_where_it_belongs() -> None:
    with StandIn(always(200, {"object": "list", "data": []})) as server:
        proxied = Cli(server.url, env={"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"})
        assert proxied.run("list").returncode == 0, "this machine is never reached through a proxy"
        assert [one.headers["x-portkey-api-key"] for one in server.asked] == [KEY]
        through = Cli("http://gateway.invalid/v1", env={"http_proxy": server.url.removesuffix("/v1")})
        assert through.run("list").returncode == 0
        assert server.asked[-1].path.startswith("http://gateway.invalid/v1/batches")
