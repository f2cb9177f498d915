"""Leaks: what one workspace, or a visitor without a key, learns of the others."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.attacks.rig import WORKSPACES, Town, key_of
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import METRICS_KEY


def answered(town: Town, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, str]:
    """Return status and text of an answer."""
    try:
        found = town.call(method, path, body, root=True, headers=headers)
    except HTTPError as refusal:
        with refusal as answer:
            return answer.code, answer.read().decode()
    return 200, found.decode() if isinstance(found, bytes) else json.dumps(found)


@pytest.fixture
def things(town: Town) -> tuple[str, dict[str, Any]]:
    """A file and a batch of the victim, which has ended."""
    file = town.victim.upload(jsonl(chat_lines(2, tag="the victim's own words")))
    return file, town.victim.until(town.victim.create(file)["id"])


def test_nothing_of_another_workspace_can_be_told_from_what_is_not_there(
    town: Town, things: tuple[str, dict[str, Any]]
) -> None:
    file, batch = things
    output, attacker = batch["output_file_id"], town.attacker.headers
    paths = [f"/files/{file}", f"/files/{file}/content", f"/files/{output}/content", f"/batches/{batch['id']}"]
    paths += [f"/batches/{batch['id']}/{part}" for part in ("lines", "output")]
    calls = [("GET", path) for path in paths]
    calls += [("DELETE", f"/files/{file}")] + [("POST", f"/batches/{batch['id']}/{act}") for act in ("cancel", "retry")]
    for method, path in calls:
        status, told = answered(town, method, f"/v1{path}", attacker)
        nothing = path.replace(file, "file-" + "0" * 24).replace(output, "file-" + "0" * 24)
        nothing = nothing.replace(batch["id"], "batch_" + "0" * 32)
        other, said = answered(town, method, f"/v1{nothing}", attacker)
        assert (status, other) == (404, 404), path
        ids = (file, output, batch["id"])
        masked = [text.replace(each, "ID") for text in (told,) for each in ids]
        assert all("victim" not in text for text in masked)
        assert json.loads(told)["error"]["code"] == json.loads(said)["error"]["code"]
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
    for path in ("/v1/batches", "/v1/batches/plan"):
        assert answered(town, "POST", path, attacker, body)[0] == 404
    listed = [answered(town, "GET", path, attacker)[1] for path in ("/v1/files", "/v1/batches")]
    assert not any(each in text for each in (file, output, batch["id"]) for text in listed)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {key_of('attacker')}"}]
)
def test_metrics_are_for_who_has_their_key(
    town: Town, things: tuple[str, dict[str, Any]], headers: dict[str, str]
) -> None:
    status, told = answered(town, "GET", "/metrics", {"x-portkey-api-key": "", **headers})
    assert status == 401
    assert not any(name in told for name in WORKSPACES)
    status, told = answered(town, "GET", "/metrics", {"Authorization": f"Bearer {METRICS_KEY}"})
    assert (status, "victim" in told) == (200, True)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/files", "/v1/nothing", "/metrics"])
def test_a_visitor_learns_no_name(town: Town, things: tuple[str, dict[str, Any]], path: str) -> None:
    _, told = answered(town, "GET", path, {"x-portkey-api-key": "", "x-portkey-virtual-key": "lane"})
    assert not any(word in told for word in (*WORKSPACES, "openai", "sandbox", "aiohttp", "Python"))
