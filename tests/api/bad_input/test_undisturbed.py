"""Everything wrong at once, among good uploads of another client: it notices nothing, and nothing stays behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.api.bad_input.callers_and_targets import CALLERS, TARGETS
from tests.api.bad_input.create_bodies import BODIES, FIELDS, UPLOADS
from tests.api.bad_input.forms import END, FORM, FORMS, PURPOSE, part
from tests.api.bad_input.paths import PATHS
from tests.api.bad_input.rig import JSON, LANE, OTHER_KEY, Rig
from tests.support.lines import chat_lines, jsonl
from tests.support.waiting import until

AT_ONCE = 4
GOOD_ONE = {"x-portkey-api-key": OTHER_KEY}
FORM_OF_THE_GOOD_ONE = GOOD_ONE | {"content-type": FORM}


def test_another_client_is_not_disturbed(rig: Rig) -> None:
    cases = [*CALLERS, *TARGETS, *BODIES, *FIELDS, *UPLOADS, *FORMS, *PATHS]
    content = jsonl(chat_lines(20, tag="of the good one"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [pool.submit(rig.refused, case) for case in cases]
        stored = [_upload(rig, content) for _ in range(len(cases))]
        for each in wrong:
            each.result()
    assert all(rig.ask("GET", f"/files/{file_id}/content", GOOD_ONE).body == content for file_id in stored)
    output = _output_of(rig, stored[0])
    _until_scanned(rig)
    kept = {name.removesuffix(".index") for name in rig.leftovers()}
    assert kept == {*stored, output}, "what was refused has left nothing"
    assert rig.ask("GET", "/files").value["data"] == []
    assert rig.ask("GET", "/batches").value["data"] == []


def _upload(rig: Rig, content: bytes) -> str:
    body = PURPOSE + part("file", content, b"in.jsonl") + END
    answer = rig.ask("POST", "/files", FORM_OF_THE_GOOD_ONE, body)
    assert answer.status == 200
    return str(answer.value["id"])


def _until_scanned(rig: Rig) -> None:
    until(lambda: {file["status"] for file in rig.ask("GET", "/files", GOOD_ONE).value["data"]} == {"processed"})


def _output_of(rig: Rig, file_id: str) -> str:
    order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = rig.ask("POST", "/batches", GOOD_ONE | JSON | LANE, json.dumps(order).encode()).value
    path = f"/batches/{batch['id']}"
    until(lambda: rig.ask("GET", path, GOOD_ONE).value["status"] == "completed", rig.tail)
    batch = rig.ask("GET", path, GOOD_ONE).value
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    return str(batch["output_file_id"])
