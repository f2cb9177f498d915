"""Who calls and where to: keys, virtual keys, configs and headers that cannot be."""

from __future__ import annotations

import json

import pytest

from tests.api.bad_input.callers_and_targets import CALLERS, NO_SUCH_MODEL, TARGETS
from tests.api.bad_input.rig import JSON, LANE, ORDER, Case, Rig
from tests.support.lines import chat_lines, jsonl


@pytest.mark.parametrize("case", CALLERS, ids=str)
def test_a_caller_that_is_nobody(rig: Rig, case: Case) -> None:
    rig.refused(case)


@pytest.mark.parametrize("case", TARGETS, ids=str)
def test_a_target_that_cannot_be(rig: Rig, case: Case) -> None:
    rig.refused(case)


@pytest.mark.parametrize("text", ["{nope", "[1]", "7", "[" * 7000])
def test_metadata_of_a_header_that_cannot_be_read_is_as_good_as_none(rig: Rig, text: str) -> None:
    """Portkey's own rule for `x-portkey-metadata`: it labels requests, so nothing fails by it."""
    order = ORDER | {"input_file_id": rig.upload(jsonl(chat_lines(1)))}
    answer = rig.ask("POST", "/batches", JSON | LANE | {"x-portkey-metadata": text}, json.dumps(order).encode())
    assert (answer.status, answer.value["object"]) == (200, "batch")
    assert rig.until(answer.value["id"])["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


def test_without_a_target_a_line_that_names_none_is_told_so(rig: Rig) -> None:
    file_id = rig.upload(jsonl(chat_lines(1)))
    order = json.dumps(ORDER | {"input_file_id": file_id}).encode()
    batch = rig.until(rig.ask("POST", "/batches", JSON, order).value["id"])
    assert (batch["status"], batch["error_file_id"]) == ("failed", None)
    assert batch["errors"]["data"] == [
        {"code": "model_not_found", "message": NO_SUCH_MODEL, "param": "body.model", "line": 1}
    ]
