"""What comes too early, too late or in vain; and paths, methods, ranges and queries that there are not."""

from __future__ import annotations

import json

import pytest

from tests.api.bad_input.paths import NOBODY, PATHS
from tests.api.bad_input.rig import INVALID, JSON, LANE, Case, Rig
from tests.support.lines import chat_lines, jsonl

ORDER = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
NOT_ENDED, FAILED_EARLY = "batch_not_ended", "This batch failed before any line was sent; its 'errors' say why."
CORRECT = f"{FAILED_EARLY} Correct the file, upload it and create a new batch."
NO_FAILURE = "No line of this batch failed; there is nothing to retry."


@pytest.fixture(scope="module")
def known(rig: Rig) -> dict[str, str]:
    """Ids by what became of the batch: `done`, `running`, `refused` for its file, `cancelled`; and `file`, in use."""
    file_id = rig.upload(jsonl(chat_lines(2)))
    order = json.dumps(ORDER | {"input_file_id": file_id}).encode()
    slow = JSON | {"x-portkey-virtual-key": "slow"}
    running, cancelled = (rig.ask("POST", "/batches", slow, order).value["id"] for _ in range(2))
    rig.until(running, {"in_progress"})
    rig.until(cancelled, {"in_progress"})
    rig.call("POST", f"/batches/{cancelled}/cancel")
    refused = rig.create(rig.upload(b"no request\n"))["id"]
    done = rig.create(rig.upload(jsonl(chat_lines(2))))["id"]
    for batch_id in (done, refused, cancelled):
        rig.until(batch_id)
    return {"done": done, "running": running, "refused": refused, "cancelled": cancelled, "file": file_id}


def late(name: str, path: str, message: str, code: str | None, status: int = 409, method: str = "POST") -> Case:
    return Case(name, status, message, None, code, method=method, path=path, headers=LANE)


def early(what: str) -> str:
    return f"{what}; this one is 'in_progress'. Ask again later, or cancel it."


NO_CANCEL = "Cannot cancel a batch with status '{}'."
LINES_LATER = early("The lines of a batch are told when it has ended")
STATES = [
    late("cancel of a completed one", "/batches/done/cancel", NO_CANCEL.format("completed"), None),
    late("cancel of a failed one", "/batches/refused/cancel", NO_CANCEL.format("failed"), None),
    late("retry of a running one", "/batches/running/retry", early("A batch is retried when it has ended"), NOT_ENDED),
    late("retry without failures", "/batches/done/retry", NO_FAILURE, "nothing_to_retry", 400),
    late("retry of a refused file", "/batches/refused/retry", CORRECT, "invalid_input_file", 400),
    late("lines of a running one", "/batches/running/lines", LINES_LATER, NOT_ENDED, method="GET"),
    late("lines of a refused file", "/batches/refused/lines", FAILED_EARLY, "no_lines", method="GET"),
]


@pytest.mark.parametrize("case", STATES, ids=str)
def test_a_state_that_does_not_allow_it(rig: Rig, known: dict[str, str], case: Case) -> None:
    kind, name, *rest = case.path.removeprefix("/").split("/")
    answer = rig.ask(case.method, "/".join(["", kind, known[name], *rest]), case.headers)
    assert (answer.status, answer.error) == (case.status, case.error)
    if case.status == 409:
        assert answer.headers["x-should-retry"] == "false", "an SDK that asks again is told the same"


def test_a_batch_may_be_cancelled_once_more(rig: Rig, known: dict[str, str]) -> None:
    answer = rig.ask("POST", f"/batches/{known['cancelled']}/cancel", LANE)
    assert (answer.status, answer.value["status"]) == (200, "cancelled")


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_a_path_or_query_that_there_is_not(rig: Rig, case: Case) -> None:
    rig.refused(case)


@pytest.mark.parametrize(("method", "path"), [("POST", "/audio/speech"), ("GET", "/no%0Awhere"), ("GET", "/%0A")])
def test_what_another_service_would_answer(rig: Rig, method: str, path: str) -> None:
    answer = rig.ask(method, path)
    assert (answer.status, answer.error) == (404, {"message": NOBODY, "type": INVALID, "param": None, "code": None})


def test_a_range_behind_the_end(rig: Rig, known: dict[str, str]) -> None:
    size = rig.ask("GET", f"/files/{known['file']}").value["bytes"]
    answer = rig.ask("GET", f"/files/{known['file']}/content", {"range": f"bytes={size}-"})
    message = f"The range begins behind the end of the file, which has {size} bytes."
    told = {"message": message, "type": INVALID, "param": "Range", "code": "range_not_satisfiable"}
    assert (answer.status, answer.error) == (416, told)
    assert answer.headers["content-range"] == f"bytes */{size}"
