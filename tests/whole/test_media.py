"""Pictures named by URL, fetched for lanes whose route says so: what arrives, what is refused, what a kill costs."""

from __future__ import annotations

import base64
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.media.store import name_of
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import jsonl
from tests.support.stack import Gateway, GatewayGone, lane
from tests.support.waiting import until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
HAIKU, NANO = "claude-haiku-4-5", "gpt-4.1-nano"
LIMIT = 64_000
PATH = "messages[0].content[1].image_url.url"
FETCHING = {"fetch_media": True, "virtual_key": "lane"}


class Server(ThreadingHTTPServer):
    """Lets more callers wait than the five of the standard library, whose next ones lose a second."""

    request_queue_size = 128


class Pictures:
    """A web server on loopback. The first step of a path says how it answers; the rest makes the URL different."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self._ways = {"png": (200, "image/png", PNG), "big": (200, "image/png", PNG + bytes(LIMIT))}
        self._ways |= {"lying": (200, "text/html", b"\xff\xd8\xff" + PNG), "page": (200, "text/html", b"<html>")}
        self._ways |= {"svg": (200, "image/svg+xml", b"<svg/>"), "gone": (404, "image/png", PNG)}
        self._server = Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pictures = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pictures.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        path = call.path.removeprefix("/")
        way = path.partition("/")[0]
        self.asked[path] += 1
        self.headers.append({name.lower(): value for name, value in call.headers.items()})
        if way == "stall":
            time.sleep(3)
        if way == "slow":
            time.sleep(0.3)
        if way == "once" and self.asked[path] == 1:
            way = "broken"
        status, kind, body = self._ways.get(way, (200, "image/png", PNG))
        if way == "broken":
            status = 503
        call.send_response(302 if way == "moved" else status)
        call.send_header("Content-Type", kind)
        call.send_header("Content-Length", str(len(body)))
        call.send_header("Location", self.url("png/moved"))
        call.end_headers()
        try:
            call.wfile.write(body)
        except OSError:
            return


class Fetching(Gateway):
    """A gateway that fetches pictures for its batches."""

    def run(self, lines: Sequence[dict[str, Any]], config: dict[str, Any] = FETCHING) -> str:
        body = {"input_file_id": self.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
        headers = {"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(config)}
        return str(self.call("POST", "/batches", body, headers=headers)["id"])

    def ended(self, batch_id: str) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        """Return texts and errors by custom id."""
        batch = self.until(batch_id)
        answers = self.rows(batch.get("output_file_id"))
        errors = self.rows(batch.get("error_file_id"))
        texts = {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in answers}
        return texts, {each["custom_id"]: each["response"]["body"]["error"] for each in errors}


def line(name: str, *urls: str, model: str = HAIKU) -> dict[str, Any]:
    content = [{"type": "text", "text": name}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def inline(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    made = Pictures()
    yield made
    made.close()


def fetching(home: Path, sandbox: Sandbox, **limits: Any) -> Fetching:
    """Return a gateway that may fetch from 127.0.0.1, but not from localhost."""
    keys, hosts = {"lane": lane(sandbox, provider="anthropic"), "other": lane(sandbox)}, {"media_hosts": ["127.0.0.1"]}
    return Fetching(home, keys, server=hosts, limits={"max_media_bytes": LIMIT, "max_media_seconds": 1} | limits)


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetching]:
    made = fetching(tmp_path_factory.mktemp("media"), sandbox)
    made.start()
    yield made
    made.close()


def test_the_provider_gets_what_inlined_pictures_would_have_been(gateway: Fetching, pictures: Pictures) -> None:
    jpeg = b"\xff\xd8\xff" + PNG
    ways = {"png": ("image/png", PNG), "lying": ("image/jpeg", jpeg), "once": ("image/png", PNG)}
    named = [line(f"{way} {n}", pictures.url(way), pictures.url("png/2")) for way in ways for n in range(3)]
    brought = [line(f"{way} {n}", inline(*ways[way]), inline("image/png", PNG)) for way in ways for n in range(3)]
    texts, errors = gateway.ended(gateway.run(named))
    assert errors == {}
    assert texts == gateway.ended(gateway.run(brought, {"virtual_key": "lane"}))[0]
    assert texts != gateway.ended(gateway.run(named, {"virtual_key": "lane"}))[0]
    assert pictures.asked == {"png": 1, "png/2": 1, "lying": 1, "once": 2}
    assert not [headers for headers in pictures.headers if {"authorization", "cookie", "x-api-key"} & headers.keys()]


@pytest.mark.parametrize(
    ("way", "reason", "times"),
    [
        ("gone", "status 404", 1),
        ("moved", "redirect", 1),
        ("big", f"more than {LIMIT} bytes", 1),
        ("page", "no picture", 1),
        ("broken", "status 503", 3),
        ("stall", "within 1 seconds", 3),
    ],
)
def test_a_picture_that_does_not_come_rejects_its_line_alone(
    way: str, reason: str, times: int, gateway: Fetching, pictures: Pictures
) -> None:
    lines = [line("good", pictures.url("png")), line("bad", pictures.url(f"{way}/secret")), line("none")]
    texts, errors = gateway.ended(gateway.run(lines))
    assert texts.keys() == {"good", "none"}
    assert errors["bad"]["code"] == "media_unavailable"
    assert errors["bad"]["message"].startswith(f"{PATH}: ")
    assert reason in errors["bad"]["message"]
    assert "secret" not in errors["bad"]["message"]
    assert "secret" not in gateway.log.read_text()
    assert pictures.asked == {"png": 1, f"{way}/secret": times}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_nothing_inside_is_asked(host: str, gateway: Fetching, pictures: Pictures) -> None:
    _, errors = gateway.ended(gateway.run([line("bad", pictures.url("png", host))]))
    assert errors["bad"]["code"] == "media_unavailable"
    assert "server.media_hosts" in errors["bad"]["message"]
    assert not pictures.asked


@pytest.mark.parametrize(
    "url", ["http://user:word@127.0.0.1/x", "http:///x", "http://a b/", "http://127.0.0.1:0/", "http://x/" + "y" * 9000]
)
def test_what_is_no_plain_address_is_told(url: str, gateway: Fetching) -> None:
    _, errors = gateway.ended(gateway.run([line("bad", url)]))
    assert errors["bad"]["code"] == "media_unavailable"
    assert "plain web address" in errors["bad"]["message"]


def test_only_targets_with_the_switch_have_pictures_fetched(gateway: Fetching, pictures: Pictures) -> None:
    on, off = {"virtual_key": "lane"}, {"virtual_key": "other", "fetch_media": False}
    conditions = [{"query": {"params.model": HAIKU}, "then": "on"}, {"query": {"params.model": NANO}, "then": "off"}]
    config = {
        "fetch_media": True,
        "strategy": {"mode": "conditional", "conditions": conditions},
        "targets": [on | {"name": "on"}, off | {"name": "off"}],
    }
    lines = [line("on", pictures.url("png/on")), line("off", pictures.url("png/off"), model=NANO)]
    texts, errors = gateway.ended(gateway.run(lines, config))
    assert (set(texts), errors) == ({"on", "off"}, {})
    assert pictures.asked == {"png/on": 1}


def test_lines_that_name_their_account_have_pictures_fetched(gateway: Fetching, pictures: Pictures) -> None:
    lines = [line("on", pictures.url("png"), model=f"@lane/{HAIKU}"), line("lost", pictures.url("gone"), model="@no/x")]
    texts, errors = gateway.ended(gateway.run(lines, {"fetch_media": True}))
    assert (set(texts), set(errors)) == ({"on"}, {"lost"})
    assert pictures.asked == {"png": 1}, "a line that is rejected anyway has nothing fetched"


def test_all_pictures_of_a_batch_have_limits(tmp_path: Path, sandbox: Sandbox, pictures: Pictures) -> None:
    gateway = fetching(tmp_path, sandbox, max_media_files=3, max_media_total_bytes=2 * len(PNG) + 100)
    gateway.start()
    try:
        texts, errors = gateway.ended(gateway.run([line(str(n), pictures.url(f"png/{n}")) for n in range(5)]))
    finally:
        gateway.close()
    told = Counter(error["message"].rpartition("(")[2].partition(")")[0] for error in errors.values())
    assert (len(texts), told) == (2, {"limits.max_media_files": 2, "limits.max_media_total_bytes": 1})


def test_a_strict_route_fails_the_batch(gateway: Fetching, pictures: Pictures) -> None:
    batch = gateway.until(gateway.run([line("bad", pictures.url("gone"))], FETCHING | {"strict": True}))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "media_unavailable")


def test_a_plan_fetches_nothing_and_says_so(gateway: Fetching, pictures: Pictures) -> None:
    lines = [line("a", pictures.url("png")), line("b", pictures.url("gone"), pictures.url("png")), line("c")]
    body = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
    headers = {"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(FETCHING)}
    plan = gateway.call("POST", "/batches/plan", body, headers=headers)
    assert plan["request_counts"] == {"total": 3, "valid": 3, "rejected": 0}
    assert [caveat for caveat in plan["caveats"] if caveat.startswith("2 lines name pictures")]
    assert not pictures.asked


def test_a_cancel_ends_the_fetching(gateway: Fetching, pictures: Pictures) -> None:
    batch_id = gateway.run([line(str(n), pictures.url(f"stall/{n}")) for n in range(200)])
    until(lambda: len(pictures.asked) >= 8)
    gateway.call("POST", f"/batches/{batch_id}/cancel")
    before = pictures.asked.total()
    gateway.until(batch_id)
    assert len(pictures.asked) < 17
    assert pictures.asked.total() - before <= 8, "a cancel ends the tries, too, but for those on their way"


def test_a_stop_finishes_what_is_on_its_way_and_goes_on_later(
    tmp_path: Path, sandbox: Sandbox, pictures: Pictures
) -> None:
    gateway = fetching(tmp_path, sandbox)
    gateway.start()
    try:
        batch_id = gateway.run([line(str(n), pictures.url(f"slow/{n}")) for n in range(30)])
        until(lambda: len(pictures.asked) >= 8)
        gateway.kill(signal.SIGTERM)
        assert gateway.process is not None
        assert gateway.process.returncode == 0
        assert len(pictures.asked) < 30
        gateway.start()
        texts, errors = gateway.ended(batch_id)
        assert (len(texts), errors) == (30, {})
        assert set(pictures.asked.values()) == {1}
    finally:
        gateway.close()


def test_what_was_stored_before_a_kill_is_not_fetched_again(
    tmp_path: Path, sandbox: Sandbox, pictures: Pictures
) -> None:
    gateway = fetching(tmp_path, sandbox)
    gateway.start(fail="media.stored:12")
    try:
        lines = [line(str(n), pictures.url(f"png/{n % 30}")) for n in range(60)]
        batch_id = gateway.run(lines)
        with pytest.raises(GatewayGone):
            gateway.until(batch_id)
        assert gateway.process is not None
        gateway.process.wait(10)
        media = gateway.data / "batches" / batch_id / "media"
        stored = {each.name for each in media.iterdir()}
        gateway.start()
        texts, errors = gateway.ended(batch_id)
        assert (len(texts), errors) == (60, {})
        kept = [path for path in pictures.asked if name_of(pictures.url(path)) in stored]
        assert 12 <= len(kept) <= 12 + 8
        assert {pictures.asked[path] for path in kept} == {1}
        assert len(pictures.asked) == 30
        assert not media.exists()
    finally:
        gateway.close()
