"""Who sees what, and which creates are the same: workspaces, repeated creates, and keys that nobody is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin import app as proxy_app
from tests.support.accounting import code_of
from tests.support.folders import content, files_below
from tests.support.lines import jsonl
from tests.support.stack import MAY_READ_METRICS
from tests.whole.contract.cases import Case
from tests.whole.contract.checks import check_lines, check_paid_once, lines_of, rows_of
from tests.whole.contract.client import OTHERS, Client
from tests.whole.contract.wire import Wire

AT_ONCE = 4
JOBS, FEW = 2, "few"  # lines a job: three


def _routes(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route that names one file or batch."""
    app = web.Application()
    proxy_app.setup(app, {"proxy_plugin": {"storage": {"data_dir": str(tmp_path / "unused")}}})
    for route in app.router.routes():
        path = route.resource.canonical if route.resource else ""
        if route.method != "*" and path.startswith("/v1/") and "{" in path:
            yield route.method, path.removeprefix("/v1")


def test_another_workspace_sees_nothing(case: Case, gateway: Client, tmp_path: Path) -> None:
    """What is somebody else's is answered as what never was: by its id there is no telling the two apart."""
    lines = lines_of(case, 4, odd={1: "error"})
    batch = gateway.run(lines)
    ours = {"file": [batch[f"{which}_file_id"] for which in ("input", "output", "error")], "batch": [batch["id"]]}
    seen = set()
    for method, path in _routes(tmp_path):
        kind = "file" if "{file_id}" in path else "batch"
        for known in ours[kind]:
            told = [_asked(gateway, method, path, each) for each in (known, "nobody-has-this-id")]
            assert told[0] == told[1]
            assert told[0][0] == 404, f"{method} {path}"
            seen.add(kind)
    assert seen == ours.keys()
    assert gateway.batch(batch["id"]) == batch
    check_lines(case, gateway, batch, lines, {"line 1": case.error_code})


def _asked(gateway: Client, method: str, path: str, known: str) -> tuple[int, str]:
    status, answer = gateway.ask(method, path.replace("{file_id}", known).replace("{batch_id}", known), headers=OTHERS)
    return status, str(answer).replace(known, "ID")


def test_another_workspace_lists_and_uses_nothing_of_ours(case: Case, gateway: Client, wire: Wire) -> None:
    batch = gateway.run(lines_of(case, 3))
    wire.reset()
    for page in ("files", "batches"):
        listed = {each["id"] for each in gateway.call("GET", f"/{page}", headers=OTHERS)["data"]}
        mine = {each["id"] for each in gateway.call("GET", f"/{page}")["data"]}
        assert not listed & mine
        assert mine & {batch["id"], batch["input_file_id"]}
        for cursor in (batch["id"], batch["output_file_id"]):
            status, answer = gateway.ask("GET", f"/{page}?after={cursor}", headers=OTHERS)
            assert (status, answer) == gateway.ask("GET", f"/{page}?after=nobody-has-this-id", headers=OTHERS)
    for file_id in (batch["input_file_id"], batch["output_file_id"]):
        order = {"input_file_id": file_id, "endpoint": case.stand_in.endpoint, "completion_window": "24h"}
        assert gateway.ask("POST", "/batches", order, headers=OTHERS)[0] == 404
    assert wire.accepted() == []


def test_one_idempotency_key_is_one_batch_and_one_job_a_part(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 3 * JOBS)
    upload, key = gateway.upload(jsonl(lines)), {"Idempotency-Key": f"the same of {case.name}"}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: gateway.order(upload, FEW, headers=key), range(AT_ONCE)))
    batch = gateway.until(answers[0]["id"])
    assert {answer["id"] for answer in answers} == {batch["id"]}
    assert gateway.order(upload, FEW, headers=key)["id"] == batch["id"]
    check_lines(case, gateway, batch, lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == JOBS


def test_an_idempotency_key_with_another_request_is_refused(case: Case, gateway: Client, wire: Wire) -> None:
    upload = gateway.upload(jsonl(lines_of(case, 3)))
    headers = {"Idempotency-Key": f"of one request of {case.name}"}
    batch_id = gateway.order(upload, FEW, headers=headers)["id"]
    order = {
        "input_file_id": upload,
        "endpoint": case.stand_in.endpoint,
        "completion_window": "24h",
        "metadata": {"a": "b"},
    }
    status, answer = gateway.ask("POST", "/batches", order, headers=headers)
    assert (status, answer["error"]["code"]) == (422, "idempotency_key_reused")
    assert gateway.until(batch_id)["status"] == "completed"
    assert len(wire.accepted()) == 1


def test_a_create_that_an_sdk_repeats_is_one_batch_and_one_job_a_part(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 3 * JOBS)
    upload = gateway.upload(jsonl(lines))
    tries = [gateway.order(upload, FEW, headers={"x-stainless-retry-count": str(n)}) for n in range(3)]
    batch = gateway.until(tries[0]["id"])
    assert {each["id"] for each in tries} == {batch["id"]}
    check_lines(case, gateway, batch, lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == JOBS


def test_a_deliberate_second_run_is_a_second_batch_with_other_marks(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 3 * JOBS)
    upload = gateway.upload(jsonl(lines))
    batches = [gateway.order(upload, FEW)["id"] for _ in range(2)]
    assert batches[0] != batches[1]
    for batch_id in batches:
        check_lines(case, gateway, gateway.until(batch_id), lines)
    check_paid_once(wire, 2 * len(lines))
    assert len(wire.accepted()) == 2 * JOBS


def test_no_key_of_a_provider_is_told_or_stored(case: Case, gateway: Client, wire: Wire) -> None:
    good, lines = gateway.run(lines_of(case, 4, odd={0: "error"})), lines_of(case, 4)
    bad = gateway.run(lines, "wrong")
    assert bad["status"] == "failed"
    code = code_of(rows_of(gateway, bad)[1][0])
    check_lines(case, gateway, bad, lines, {line["custom_id"]: code for line in lines})
    for path in ("/files", "/batches", f"/batches/{good['id']}", f"/files/{good['input_file_id']}/content"):
        gateway.call("GET", path)
    for path in ("/metrics", "/readyz"):
        gateway.call("GET", path, root=True, headers=MAY_READ_METRICS)
    secrets = [*wire.secrets, *map(str, case.wrong.values())]
    kept = b"".join(map(content, files_below(gateway.data)))
    told = {"log": gateway.log.read_bytes(), "answers": "".join(gateway.answers).encode(), "data": kept}
    assert all(good["id"].encode() in told[where] for where in ("answers", "data")), "looked in the wrong place"
    for secret in secrets:
        assert [where for where, text in told.items() if secret.encode() in text] == []


@pytest.mark.parametrize("header", ["x-portkey-api-key", "x-portkey-virtual-key"])
def test_a_create_without_a_known_key_sends_nothing(case: Case, gateway: Client, wire: Wire, header: str) -> None:
    upload = gateway.upload(jsonl(lines_of(case, 2)))
    order = {"input_file_id": upload, "endpoint": case.stand_in.endpoint, "completion_window": "24h"}
    status, answer = gateway.ask("POST", "/batches", order, headers={header: "nobody-has-this"})
    assert status in {400, 401}
    assert answer["error"]["message"]
    assert wire.requests() == []
