"""Logs are JSON lines with a trace id; no secret, no users' content, no query string gets into them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.logs import TEXT, TRACE_ID, JsonLines, event, learn, setup
from proxy_plugin.ground.masking import Masker
from proxy_plugin.providers.base import Refused, TryLater

SECRET = "acme-5up3r-s3cr3t"
CONTENT = "dear model, my diagnosis is"
LOGGER = logging.getLogger("proxy_plugin.tests")


class Log:
    """What was written so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    level, written = root.level, Log()
    handler = setup("debug", Masker([SECRET]), written.stream)
    yield written
    for each in [handler, *(found for found in root.handlers if isinstance(found, JsonLines))]:
        root.removeHandler(each)
    root.setLevel(level)


def test_an_event_is_one_object_a_line(log: Log) -> None:
    token = TRACE_ID.set("trace-1")
    event(LOGGER, "batch_created", batch="batch_1", lines=3, folder=Path("/a"), ok=True, parts=[1, {"n": None}])
    TRACE_ID.reset(token)
    event(LOGGER, "text\nwith\u2028breaks", level=logging.WARNING, note="a\r\nb")
    first, second = log.lines
    at = datetime.fromisoformat(first.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert first == {
        "level": "info",
        "event": "batch_created",
        "trace_id": "trace-1",
        "logger": "proxy_plugin.tests",
        "batch": "batch_1",
        "lines": 3,
        "folder": "/a",
        "ok": True,
        "parts": [1, {"n": None}],
    }
    assert (second["level"], second["trace_id"], second["note"]) == ("warning", None, "a\r\nb")
    assert list(second)[:4] == ["at", "level", "event", "trace_id"]


def test_a_field_cannot_forge_the_head_of_a_line(log: Log) -> None:
    event(LOGGER, "real", event="forged", trace_id="forged", at="forged")
    assert log.last["event"] == "real"
    assert "forged" not in log.text


def test_known_secrets_credentials_and_query_strings_are_masked_everywhere(log: Log) -> None:
    path = f"/v1/files?name={CONTENT.replace(' ', '+')}"
    event(LOGGER, f"e {SECRET}", a=SECRET, b=[SECRET], c={SECRET: f"x{SECRET}x"}, d="Bearer abcdefgh1234", path=path)
    assert SECRET not in log.text
    assert "abcdefgh1234" not in log.text
    assert log.last["path"] == "/v1/files?***"


def test_what_json_cannot_hold_leaves_no_more_than_its_type(log: Log) -> None:
    event(LOGGER, "odd", a=CONTENT.encode(), b=ValueError(CONTENT), c=float("nan"), d="\udcff", e="x" * 5000, f={1})
    line = log.last
    assert (line["a"], line["b"], line["c"], line["f"]) == ("<bytes>", "<ValueError>", "nan", [1])
    assert line["d"] == "\udcff"
    assert len(line["e"]) == 1000


def test_errors_of_ours_are_told_in_full(log: Log) -> None:
    event(LOGGER, "stopped", level=logging.ERROR, error=ConfigError("proxy_plugin.x: unknown setting"))
    assert (log.last["error_type"], log.last["error"]) == ("ConfigError", "proxy_plugin.x: unknown setting")
    event(LOGGER, "later", error=TryLater("no connection to api.acme.example"))
    assert log.last["error"] == "no connection to api.acme.example"
    event(LOGGER, "refused", error=Refused(f"the provider quotes: {CONTENT}", code="bad", status=400))
    assert log.last["error"] == "bad: HTTP 400"
    assert CONTENT not in log.text


def _fail() -> None:
    raise KeyError(CONTENT)


def test_other_errors_are_told_by_type_and_place_without_values(log: Log) -> None:
    try:
        try:
            _fail()
        except KeyError as cause:
            raise ValueError(CONTENT) from cause
    except ValueError as error:
        event(LOGGER, "crashed", level=logging.ERROR, error=error)
    assert CONTENT not in log.text
    line = log.last
    assert (line["error_type"], line["caused_by"]) == ("ValueError", ["KeyError"])
    assert line["frames"][-1].endswith(" test_other_errors_are_told_by_type_and_place_without_values")
    assert "error" not in line


async def test_an_error_inside_a_task_group_is_told_itself(log: Log) -> None:
    async def failing() -> None:
        _fail()

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())
    event(LOGGER, "crashed", error=caught.value)
    assert log.last["error_type"] == "KeyError"
    assert log.last["frames"][-1].endswith(" _fail")
    assert CONTENT not in log.text


def test_records_of_other_libraries_show_their_template_only(log: Log) -> None:
    other = logging.getLogger("some.library")
    other.info("GET /v1/files?x=%s", CONTENT)
    other.warning("cannot read %s\nbecause %s", CONTENT, CONTENT)
    try:
        _fail()
    except KeyError:
        other.exception("failed")
    assert [line["message"] for line in log.lines] == ["cannot read %s", "failed"]
    assert (log.last["logger"], log.last["event"], log.last["error_type"]) == ("some.library", "log", "KeyError")
    assert CONTENT not in log.text


async def test_a_task_that_nobody_awaited_does_not_tell_what_it_worked_on(log: Log) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    future.set_exception(ValueError(CONTENT))
    del future
    assert log.last["message"] == "Future exception was never retrieved"
    assert log.last["error_type"] == "ValueError"
    assert CONTENT not in log.text


async def test_a_server_that_fails_tells_neither_query_nor_body(log: Log) -> None:
    async def crash(request: web.Request) -> web.Response:
        raise ValueError(await request.text())

    app = web.Application()
    app.router.add_post("/crash", crash)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/crash", params={"q": CONTENT}, data=CONTENT)
        assert answer.status == 500
    assert [line["error_type"] for line in log.lines if line["logger"] == "aiohttp.server"] == ["ValueError"]
    assert "diagnosis" not in log.text


def test_a_second_setup_replaces_the_first(log: Log) -> None:
    again = Log()
    handler = setup("INFO", Masker(), again.stream)
    event(LOGGER, "quiet", level=logging.DEBUG)
    event(LOGGER, "loud")
    logging.getLogger().removeHandler(handler)
    assert [line["event"] for line in again.lines] == ["loud"]
    assert log.text == ""


def test_a_broken_stream_prints_nothing_raw(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.stream.close()
    event(LOGGER, "lost", note=SECRET)
    assert capsys.readouterr().err == ""


def test_names_are_written_as_they_are_although_a_dummy_key_is_the_same_word(log: Log) -> None:
    setup("info", Masker(["production", "dev"]), log.stream)
    event(LOGGER, "e", workspace="production", virtual_key="dev", caller="dev", slug="production", said="dev key")
    found = log.last
    assert (found["workspace"], found["virtual_key"], found["caller"]) == ("production", "dev", "dev")
    assert (found["slug"], found["said"]) == ("production", "*** key")


def test_text_is_one_line_for_people_without_secrets(log: Log) -> None:
    setup("info", Masker([SECRET]), log.stream, style=TEXT)
    event(LOGGER, "listening", host="127.0.0.1", port=1, key=SECRET, said='a "b" c\nd', none=None, parts=[1])
    event(LOGGER, "quiet", level=logging.DEBUG)
    [line] = log.text.splitlines()
    assert line[8:].startswith(" info    listening  host=127.0.0.1 port=1 key=")
    assert line.endswith(r'said="a \"b\" c\nd" parts=[1]')
    assert SECRET not in line


def test_other_secrets_are_learnt_and_the_style_stays(log: Log) -> None:
    setup("warning", Masker([]), log.stream, style=TEXT)
    learn(Masker([SECRET]))
    event(LOGGER, "told", level=logging.WARNING, key=SECRET)
    event(LOGGER, "not told")
    [line] = log.text.splitlines()
    assert " warning told  key=" in line
    assert SECRET not in line
