"""What docs/webhooks.md shows is true: its receiver reads what is sent, its configuration is one."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_plugin.api.webhooks import MOST, ROUTES
from proxy_plugin.config import parse
from proxy_plugin.ground.webhooks import ENDS, EVENTS, PROGRESS
from proxy_plugin.storage.tables.webhooks import event_body
from proxy_plugin.webhooks.signing import headers

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_receiver_reads_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    page: dict[str, Any] = {"__name__": "page"}
    exec(block("python"), page)
    with HTTPServer(("127.0.0.1", 0), page["Receiver"]) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        body = event_body(ENDS[0], time.time(), {"id": "batch_1"})
        signed = dict(headers([SECRET], "wh_1", time.time(), body))
        asked = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/", body.encode(), signed)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.status == 204
        answering.join()
    assert capsys.readouterr().out == "batch.completed batch_1\n"


def test_the_configuration_is_one() -> None:
    [entry] = parse(yaml.safe_load(block("yaml")), {"WEBHOOK_SECRET": SECRET}).webhooks
    assert entry.events == (*ENDS, PROGRESS)


def test_the_body_is_as_shown() -> None:
    shown = json.loads(block("json"))
    made = json.loads(event_body(ENDS[0], shown["created_at"], shown["data"]))
    assert made | {"id": ""} == shown | {"id": ""}
    assert len(made["id"]) == len(shown["id"])


def test_every_event_and_route_is_told() -> None:
    assert set(re.findall(r"`(batch\.\w+)`", PAGE.split("| event |")[1])) == set(EVENTS)
    told = re.findall(r"`(GET|POST|DELETE) /v1(/webhooks[^`?]*)[^`]*`", PAGE)
    shown = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in told}
    ours = {(each.method, re.sub(r"\{\w+\}", "{}", each.path)) for each in ROUTES if each.path.startswith("/webhooks")}
    assert ours == shown
    assert f"at most {MOST} endpoints" in PAGE
