"""Bodies of creates: not JSON, not an object, too large, too deep, wrongly encoded, and fields that cannot be."""

from __future__ import annotations

import json

import pytest

from tests.api.bad_input.create_bodies import BODIES, FIELDS, UPLOADS
from tests.api.bad_input.rig import JSON, LANE, ORDER, Case, Rig
from tests.support.lines import chat_lines, jsonl


@pytest.mark.parametrize("case", BODIES, ids=str)
def test_a_body_that_is_no_json_object(rig: Rig, case: Case) -> None:
    rig.refused(case)


@pytest.mark.parametrize("case", FIELDS, ids=str)
def test_a_field_that_cannot_be(rig: Rig, case: Case) -> None:
    rig.refused(case)


def test_16_pairs_of_metadata_come_back_as_sent(rig: Rig) -> None:
    pairs = {f"{n:02}{'k' * 62}": "é" * 512 for n in range(16)}
    order = ORDER | {"input_file_id": rig.upload(jsonl(chat_lines(1))), "metadata": pairs}
    answer = rig.ask("POST", "/batches", JSON | LANE, json.dumps(order).encode())
    assert (answer.status, answer.value["metadata"]) == (200, pairs)
    assert rig.batch(answer.value["id"])["metadata"] == pairs


@pytest.mark.parametrize("case", UPLOADS, ids=str)
def test_an_upload_in_parts_that_cannot_be(rig: Rig, case: Case) -> None:
    rig.refused(case)
