"""`/v1/responses` and `/v1/completions` on both lanes: one speaks them itself, the other is spoken to through chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion
from openai.types.responses import Response

from proxy_plugin.providers import catalog
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import MODEL, STAND_INS, Line

RESPONSES, COMPLETIONS = "/v1/responses", "/v1/completions"
KINDS: dict[str, Any] = {RESPONSES: Response, COMPLETIONS: Completion}
COUNT = 12


def line(url: str, n: int, **more: Any) -> Line:
    said = {"input": f"Say {n}"} if url == RESPONSES else {"prompt": f"Say {n}"}
    return {"custom_id": f"r {n}", "method": "POST", "url": url, "body": {"model": MODEL, **said, **more}}


def run(gateway: Client, provider: str, url: str, lines: list[Line]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of both files by custom_id."""
    file_id = gateway.upload(b"".join(json.dumps(each).encode() + b"\n" for each in lines))
    batch = gateway.until(gateway.order(file_id, provider, endpoint=url)["id"])
    assert batch["status"] == "completed", batch
    rows = []
    for name in ("output_file_id", "error_file_id"):
        content = gateway.call("GET", f"/files/{batch[name]}/content") if batch[name] else b""
        rows.append({row["custom_id"]: row for row in map(json.loads, content.splitlines())})
    return rows[0], rows[1]


def text(url: str, body: dict[str, Any]) -> str:
    kind = KINDS[url]
    found = kind.model_validate(body, strict=True)
    return str(found.output_text if url == RESPONSES else found.choices[0].text)


@pytest.mark.parametrize("url", KINDS)
def test_both_lanes_answer_alike(url: str, gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    for each in (each for each in STAND_INS if url in catalog.load(each.provider).capabilities.endpoints):
        output, errors = run(gateway, each.provider, url, [line(url, n) for n in range(COUNT)])
        assert errors == {}
        assert {n: text(url, row["response"]["body"]) for n, row in output.items()} == {
            f"r {n}": f"echo: Say {n}" for n in range(COUNT)
        }
        assert all(row["response"]["body"]["usage"]["total_tokens"] > 0 for row in output.values())
    assert sandbox.control.violations() == []


def test_what_chat_cannot_express_is_an_error_row_in_the_callers_own_words(gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    lines = [
        line(RESPONSES, 0),
        line(RESPONSES, 1, previous_response_id="resp_1"),
        line(RESPONSES, 2, tools=[{"type": "image_generation"}]),
        line(RESPONSES, 3, temperature=1.7),
    ]
    output, errors = run(gateway, "anthropic", RESPONSES, lines)
    assert list(output) == ["r 0"]
    messages = {name: row["response"]["body"]["error"]["message"] for name, row in errors.items()}
    assert list(messages) == ["r 1", "r 2", "r 3"]
    for custom_id, field in (("r 1", "previous_response_id"), ("r 2", "tools[0]"), ("r 3", "temperature")):
        assert messages[custom_id].startswith(f"{field}: ")
