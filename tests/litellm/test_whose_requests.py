"""Who is asked for what: LiteLLM keeps what it has, and nobody gets in who has no key."""

from __future__ import annotations

import json

import pytest

from tests.litellm import rig
from tests.litellm.conftest import Form
from tests.litellm.rig import KEY, SLUG, asked, multipart

MINE = {"Authorization": f"Bearer {KEY}"}
OURS = MINE | {"x-portkey-virtual-key": SLUG}


def test_litellms_own_files_route_answers_callers_without_our_headers(inside: Form) -> None:
    head, body = multipart(rig.lines())
    status, answer = asked(f"{inside.url}/v1/files", MINE | head, body)
    assert status == 200, answer
    theirs = json.loads(answer)["id"]
    assert asked(f"{inside.url}/v1/files/{theirs}", OURS)[0] == 404, "it is none of the gateway's"
    head, body = multipart(b"no line of a batch")
    status, answer = asked(f"{inside.url}/v1/files", MINE | head, body)
    assert status == 400
    assert b"litellm" in answer.lower() or b"line 1" in answer.lower(), "LiteLLM's own check of a batch file"


@pytest.mark.parametrize("root", ["/v1", "", "/openai/v1"])
def test_every_form_of_our_paths_is_ours_with_our_headers(inside: Form, root: str) -> None:
    status, answer = asked(f"{inside.url}{root}/batches/batch_unknown", OURS)
    assert status == 404
    assert json.loads(answer)["error"]["message"] == "No batch found with id 'batch_unknown'."
    status, answer = asked(f"{inside.url}{root}/uploads/upload_unknown/complete", OURS, b"{}")
    assert status in (400, 404)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-somebody-elses"}, {"x-portkey-api-key": "no"}])
def test_nobody_gets_in_without_a_key(form: Form, headers: dict[str, str]) -> None:
    headers |= {"x-portkey-virtual-key": SLUG}
    status, answer = asked(f"{form.url}/v1/files", headers)
    if form.name == "front" and "Authorization" in headers:  # it may be one of LiteLLM's, who has the last word
        assert form.litellm is not None
        assert (status, answer) == asked(f"{form.litellm.url}/v1/files", headers)
        assert status == 400, "what it says without a database"
    else:
        assert status == 401
    assert json.loads(answer)["error"]["type"]


def test_nobody_gets_in_by_saying_who_they_are(inside: Form) -> None:
    who = {"x-proxy-plugin-identity": "eyJuYW1lIjoieCIsImtleV9oYXNoIjoieCIsImFkbWluIjp0cnVlfQ=="}
    forged = who | {"x-proxy-plugin-secret": "guess", "x-portkey-virtual-key": SLUG}
    assert asked(f"{inside.url}/v1/files", forged)[0] == 401


def test_a_large_upload_that_is_refused_reads_its_answer(inside: Form) -> None:
    head, body = multipart(rig.lines(30_000))
    status, answer = asked(f"{inside.url}/v1/files", head | {"x-portkey-virtual-key": SLUG, "x-api-key": "no"}, body)
    assert (status, b"error" in answer) == (401, True)


def test_the_dashboard_is_there_in_each_form_and_asks_as_its_caller(form: Form) -> None:
    status, page = asked(f"{form.url}/batch-ui/", {})
    assert (status, b'<script type="module" src="app.js">' in page) == (200, True)
    assert asked(f"{form.url}/batch-ui/app.js", {})[0] == 200
    status, answer = asked(f"{form.url}/v1/workspace", {"x-portkey-api-key": KEY})
    assert (status, json.loads(answer)["operator"]) == (200, True)
    assert asked(f"{form.url}/v1/operator", {"x-portkey-api-key": KEY})[0] == 200
    assert asked(f"{form.url}/v1/operator", {"x-portkey-api-key": "no"})[0] == 401
