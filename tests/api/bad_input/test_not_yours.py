"""Ids of another workspace, on every route that takes one: the answer is that of an id which never was."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from proxy_plugin.api import uploads as uploads_api
from proxy_plugin.api.batches import routes as batches_api
from proxy_plugin.api.files import routes as files_api
from tests.api.bad_input.forms import END, FORM, part
from tests.api.bad_input.rig import INVALID, JSON, LANE, OTHER_KEY, Answer, Rig
from tests.support.lines import chat_lines, jsonl

OTHER = LANE | {"x-portkey-api-key": OTHER_KEY}
PART = {"content-type": FORM}
NEVER = "nobody-ever-had-this-id"
BODIES = {  # what a route needs to come as far as the id
    "/uploads/{upload_id}/parts": (PART, part("data", b"x", b"x") + END),
    "/uploads/{upload_id}/complete": (JSON, b'{"part_ids": ["part_x"]}'),
}
UNKNOWN = {  # the message and the param
    "file_id": ("No such File object: ID", "id"),
    "batch_id": ("No batch found with id 'ID'.", None),
    "upload_id": ("No such Upload object: ID", "id"),
}
ALL = (*files_api.ROUTES, *uploads_api.ROUTES, *batches_api.ROUTES)
ROUTES = sorted({(route.method, route.path) for route in ALL if "_id}" in route.path})


@pytest.fixture(scope="module")
def ours(rig: Rig) -> dict[str, list[str]]:
    """Ids of one workspace: of files of each kind, of batches that run and that have ended, of an upload."""
    lines = chat_lines(3, marker={1: "[[sandbox:error=429]]"})
    ended = rig.until(rig.create(rig.upload(jsonl(lines)))["id"])
    running = rig.call("POST", "/batches", _order(rig.upload(jsonl(lines))), headers={"x-portkey-virtual-key": "slow"})
    announced = {"bytes": 10, "filename": "in.jsonl", "mime_type": "x", "purpose": "batch"}
    return {
        "file_id": [ended["input_file_id"], ended["output_file_id"], ended["error_file_id"], running["input_file_id"]],
        "batch_id": [ended["id"], running["id"]],
        "upload_id": [rig.call("POST", "/uploads", announced)["id"]],
    }


def _order(file_id: str) -> dict[str, str]:
    return {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}


def _asked(rig: Rig, method: str, path: str, name: str, known: str) -> Answer:
    headers, body = BODIES.get(path, ({}, b""))
    return rig.ask(method, path.replace(f"{{{name}}}", known), OTHER | headers, body)


def _told(answer: Answer, known: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return an answer without what differs in any two: its trace id, its date, the id and the length of that."""
    kept = {name: each for name, each in answer.headers.items() if name not in VARYING}
    return answer.status, kept, answer.body.replace(known.encode(), b"ID")


# The connection is closed where the refusal came before the whole body did, which is a matter of timing.
VARYING = {"x-portkey-trace-id", "x-request-id", "date", "content-length", "connection"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_id_of_another_workspace_is_one_that_never_was(
    rig: Rig, ours: dict[str, list[str]], method: str, path: str
) -> None:
    name = path.split("{")[1].split("}", maxsplit=1)[0]
    message, param = UNKNOWN[name]
    for known in ours[name]:
        there, never = (_asked(rig, method, path, name, each) for each in (known, NEVER))
        assert _told(there, known) == _told(never, NEVER)
        assert there.status == 404
        if method != "HEAD":
            told = {"message": message.replace("ID", known), "type": INVALID, "param": param, "code": None}
            assert there.error == told
    for file_id in ours["file_id"]:
        assert rig.ask("GET", f"/files/{file_id}").status == 200, "nothing has happened to it"


def test_every_kind_of_id_is_tried() -> None:
    assert {path.split("{")[1].split("}")[0] for _, path in ROUTES} == UNKNOWN.keys()
    assert len(ROUTES) >= 13


@pytest.mark.parametrize("path", ["/batches", "/batches/plan"])
def test_a_file_of_another_workspace_cannot_be_run(rig: Rig, ours: dict[str, list[str]], path: str) -> None:
    told = []
    for known in (*ours["file_id"], NEVER):
        answer = rig.ask("POST", path, OTHER | JSON, json.dumps(_order(known)).encode())
        told.append((answer.status, answer.body.replace(known.encode(), b"ID")))
    assert {status for status, _ in told} == {404}
    assert len(set(told)) == 1


def test_parts_of_another_workspace_cannot_be_used(rig: Rig, ours: dict[str, list[str]]) -> None:
    [upload] = ours["upload_id"]
    mine = rig.ask("POST", f"/uploads/{upload}/parts", PART, part("data", b"0123456789", b"x") + END).value["id"]
    announced = json.dumps({"bytes": 10, "filename": "in.jsonl", "mime_type": "x", "purpose": "batch"}).encode()
    theirs = rig.ask("POST", "/uploads", OTHER | JSON, announced).value["id"]
    answer = rig.ask("POST", f"/uploads/{theirs}/complete", OTHER | JSON, json.dumps({"part_ids": [mine]}).encode())
    message = "Entry 1 of 'part_ids' is no part of this upload."
    assert (answer.status, answer.error["message"]) == (400, message)


@pytest.mark.parametrize("path", ["/files", "/batches"])
def test_a_list_shows_the_callers_own_and_takes_no_cursor_of_others(
    rig: Rig, ours: dict[str, list[str]], path: str
) -> None:
    theirs = rig.ask("GET", path, OTHER).value
    assert not {each["id"] for each in theirs["data"]} & {each for ids in ours.values() for each in ids}
    known = ours["file_id" if path == "/files" else "batch_id"][0]
    there, never = (rig.ask("GET", f"{path}?after={each}", OTHER) for each in (known, NEVER))
    assert (there.status, there.body) == (never.status, never.body)
    assert (there.status, there.error["param"]) == (400, "after")
