"""What can be seen of a batch before its end, and that it stays true: its jobs, and the rows that are final."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.lines import chat_lines, jsonl
from tests.support.raw_http import raw
from tests.support.stack import KEY, Gateway, lane
from tests.support.stand_ins import QUICK
from tests.support.waiting import until

LINGERING = """
import runpy, sys
from proxy_plugin.api.batches import so_far
so_far.LINGER_SECONDS = 3600.0
del sys.argv[:3]  # -c, the interpreter, -m
runpy.run_module("proxy_plugin", run_name="__main__", alter_sys=True)
"""
HELD = 600.0  # seconds that a held job would take; `advance` ends it
OTHER = {"x-portkey-api-key": "key-of-a-second-workspace"}
LINES = chat_lines(24, marker={3: "[[sandbox:error=400]]", 7: "[[sandbox:missing]]", 15: "[[sandbox:error=400]]"})
LINES[1]["body"]["model"] = LINES[11]["body"]["model"] = "not-on-the-list"  # rejected at the split


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    narrow = {"max_lines_per_job": 10, "max_jobs_in_flight": 1, "models": ["gpt-4.1-nano"], "settle_seconds": 30}
    others = {"name": "others", "key": OTHER["x-portkey-api-key"], "workspace": "two"}
    made = Gateway(tmp_path, {"lane": lane(sandbox, **narrow)}, api_keys=[others])
    made.start()
    yield made
    made.close()


def jobs(gateway: Gateway, batch_id: str) -> list[dict[str, Any]]:
    return list(gateway.call("GET", f"/batches/{batch_id}?include=jobs")["jobs"])


def half_way(gateway: Gateway, sandbox: Sandbox) -> str:
    """Return a batch whose first part is collected while the second is held at the provider."""
    sandbox.control.options("openai", run_seconds=1.0)
    batch_id = str(gateway.create(gateway.upload(jsonl(LINES)))["id"])
    until(lambda: len(sandbox.control.jobs()) == 1)
    sandbox.control.options("openai", run_seconds=HELD)
    until(lambda: [job["status"] for job in jobs(gateway, batch_id)][:2] == ["collected", "running"])
    return batch_id


def end(gateway: Gateway, sandbox: Sandbox, batch_id: str) -> dict[str, Any]:
    sandbox.control.options("openai", **QUICK["openai"])
    sandbox.control.advance(HELD + 1)
    return gateway.until(batch_id)


def output(gateway: Gateway, batch_id: str) -> list[bytes]:
    answer = raw(gateway, "GET", f"/batches/{batch_id}/output", {"Accept": "application/json"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert int(answer.headers["content-length"]) == len(answer.body)
    return answer.body.splitlines(keepends=True)


def in_input_order(gateway: Gateway, batch: dict[str, Any]) -> list[bytes]:
    order = {line["custom_id"]: n for n, line in enumerate(LINES)}
    found = [
        raw(gateway, "GET", f"/files/{batch[name]}/content").body
        for name in ("output_file_id", "error_file_id")
        if name in batch
    ]
    return sorted(b"".join(found).splitlines(keepends=True), key=lambda row: order[json.loads(row)["custom_id"]])


# ---- output ----


def test_final_rows_can_be_read_while_the_batch_runs_and_are_the_bytes_of_the_end(
    gateway: Gateway, sandbox: Sandbox
) -> None:
    batch_id = half_way(gateway, sandbox)
    early = output(gateway, batch_id)
    first = [n for n in range(len(LINES)) if n not in (1, 11)][:10]
    assert [json.loads(row)["custom_id"] for row in early] == [LINES[n]["custom_id"] for n in sorted({*first, 1, 11})]
    ended = end(gateway, sandbox, batch_id)
    check_answers(gateway, ended, LINES, cancelled=True)
    final = output(gateway, batch_id)
    assert final == in_input_order(gateway, ended)
    assert len(final) == len(LINES)
    assert [row for row in final if row in early] == early


def test_a_batch_without_rows_yet_is_an_empty_body(gateway: Gateway, sandbox: Sandbox) -> None:
    sandbox.control.options("openai", run_seconds=HELD)
    batch_id = gateway.create(gateway.upload(jsonl(chat_lines(3))))["id"]
    assert output(gateway, batch_id) == []
    until(lambda: [job["status"] for job in jobs(gateway, batch_id)] == ["running"])
    assert output(gateway, batch_id) == []


def test_a_cancelled_part_that_never_went_out_is_final_too(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    gateway.call("POST", f"/batches/{batch_id}/cancel")
    dropped = until(lambda: jobs(gateway, batch_id)[2]["status"] == "dropped" and output(gateway, batch_id))
    ended = end(gateway, sandbox, batch_id)
    assert ended["status"] == "cancelled"
    final = output(gateway, batch_id)
    assert final == in_input_order(gateway, ended)
    assert [row for row in final if row in dropped] == dropped
    assert json.loads(dropped[-1])["error"]["code"] == "batch_cancelled"


def test_many_clients_at_once_get_the_same_rows_and_leave_nothing_behind(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: b"".join(output(gateway, batch_id)), range(50)))
    assert len(set(found)) == 1
    assert len(found[0].splitlines()) == 12
    temp = gateway.data / "tmp"
    assert len(list(temp.iterdir())) <= 1, "they share one file"
    until(lambda: not list(temp.iterdir()))


def test_a_kill_while_rows_are_gathered_leaves_nothing_behind(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    output(gateway, batch_id)
    assert list((gateway.data / "tmp").iterdir())
    gateway.kill(signal.SIGKILL)
    gateway.start()
    assert list((gateway.data / "tmp").iterdir()) == []
    assert len(output(gateway, batch_id)) == 12


def test_rows_that_would_fill_the_disk_are_507(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    gateway.kill()
    gateway.limits = {"disk_reserve_bytes": 2**60}
    gateway.write_config()
    gateway.start()
    answer = raw(gateway, "GET", f"/batches/{batch_id}/output")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (507, "insufficient_storage")
    assert list((gateway.data / "tmp").iterdir()) == []


def test_a_graceful_stop_does_not_wait_for_shared_rows(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    gateway.kill()
    gateway.wrap = [sys.executable, "-c", LINGERING]
    gateway.start()
    output(gateway, batch_id)
    gateway.kill(signal.SIGTERM)
    assert gateway.process is not None
    assert gateway.process.returncode == 0


def test_head_tells_the_length_of_an_ended_batch(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    assert raw(gateway, "HEAD", f"/batches/{batch_id}/output")[::2] == (200, b"")
    end(gateway, sandbox, batch_id)
    answer = raw(gateway, "HEAD", f"/batches/{batch_id}/output")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(b"".join(output(gateway, batch_id)))


def test_of_deleted_results_the_rest_is_given(gateway: Gateway) -> None:
    ended = gateway.until(gateway.create(gateway.upload(jsonl(LINES)))["id"])
    everything = in_input_order(gateway, ended)
    gateway.call("DELETE", f"/files/{ended['output_file_id']}")
    errors = output(gateway, ended["id"])
    assert errors == [row for row in everything if not json.loads(row)["response"] or b'"status_code":200' not in row]
    assert len(errors) == ended["request_counts"]["failed"]
    gateway.call("DELETE", f"/files/{ended['error_file_id']}")
    assert output(gateway, ended["id"]) == []


def test_another_workspace_gets_404_on_every_route(gateway: Gateway) -> None:
    ended = gateway.until(gateway.create(gateway.upload(jsonl(LINES)))["id"])
    routes = [("GET", "/output"), ("HEAD", "/output"), ("GET", "/lines"), ("POST", "/retry"), ("GET", "?include=jobs")]
    for method, path in routes:
        assert raw(gateway, method, f"/batches/{ended['id']}{path}", OTHER).status == 404, (method, path)
        assert raw(gateway, method, f"/batches/batch_none{path}").status == 404, (method, path)
        assert raw(gateway, method, f"/batches/{ended['id']}{path}").status == 200, (method, path)


# ---- jobs ----


def test_the_jobs_of_a_running_batch(gateway: Gateway, sandbox: Sandbox) -> None:
    batch_id = half_way(gateway, sandbox)
    seen = len(sandbox.control.requests())
    collected, running, planned = jobs(gateway, batch_id)
    [listed] = gateway.call("GET", "/batches?include[]=jobs&limit=1")["data"]
    assert [job["part"] for job in listed["jobs"]] == [0, 1, 2]
    answered = [entry["op"] for entry in sandbox.control.requests()[seen:] if entry["op"] != "batches.retrieve"]
    assert answered == [], "the provider was asked"
    known = {"provider": "openai", "virtual_key": "lane", "model": "gpt-4.1-nano", "endpoint": "/v1/chat/completions"}
    ids = [job["id"] for job in sandbox.control.jobs()]
    assert collected == known | {
        "part": 0,
        "status": "collected",
        "job": ids[0],
        "attempts": 1,
        "request_counts": {"total": 10, "completed": 8, "failed": 2},
        **{name: collected[name] for name in ("created_at", "accepted_at")},
        "usage": collected["usage"],
    }
    assert (running["status"], running["job"], running["part"]) == ("running", ids[1], 1)
    assert running["request_counts"] == {"total": 10, "completed": 0, "failed": 0}
    assert running["created_at"] <= running["accepted_at"] <= time.time()
    assert (planned["x_status"]["waiting_for"], planned["x_status"]["virtual_key"]) == ("no_room", "lane")
    assert planned == known | {
        "x_status": planned["x_status"],
        "part": 2,
        "status": "planned",
        "attempts": 0,
        "request_counts": {"total": 2, "completed": 0, "failed": 0},
        "note": "waits for room on its virtual key",
    }
    waiting = planned["x_status"]
    assert (waiting["waiting_for"], waiting["virtual_key"]) == ("no_room", "lane")
    assert waiting["since"] <= waiting["next_try_at"]
    assert "jobs" not in gateway.batch(batch_id)
    ended = end(gateway, sandbox, batch_id)
    final = jobs(gateway, batch_id)
    assert [job["status"] for job in final] == ["collected"] * 3
    assert {"usage"}.isdisjoint(running)
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert sum(job["usage"][name] for job in final) == ended["usage"][name] > 0


def test_an_unresolved_create_is_shown_until_it_is_found(gateway: Gateway, sandbox: Sandbox) -> None:
    before = int(time.time())
    sandbox.control.faults([{"on": "batches.create", "kind": "late", "seconds": 1.5, "times": 1}])
    batch_id = gateway.create(gateway.upload(jsonl(chat_lines(3))))["id"]
    [job] = until(lambda: [job for job in jobs(gateway, batch_id) if job["status"] == "unknown"])
    assert before <= job["unresolved_since"] <= time.time()
    assert "job" not in job
    gateway.until(batch_id)
    [job] = jobs(gateway, batch_id)
    assert (job["status"], job["attempts"], "unresolved_since" in job) == ("collected", 1, False)


def test_a_refused_part_says_why(gateway: Gateway, sandbox: Sandbox) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "status", "status": 400, "times": 1}])
    ended = gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(4))))["id"])
    [job] = jobs(gateway, ended["id"])
    assert (job["status"], job["request_counts"]) == ("refused", {"total": 4, "completed": 0, "failed": 4})
    assert set(job["error"]) == {"code", "message"}
    [row, *_] = gateway.rows(ended["error_file_id"])
    assert job["error"]["message"] in json.dumps(row)


def test_the_jobs_show_no_secret(gateway: Gateway) -> None:
    ended = gateway.until(gateway.create(gateway.upload(jsonl(LINES)))["id"])
    text = json.dumps(jobs(gateway, ended["id"]))
    assert "sk-sandbox" not in text
    assert KEY not in text


@pytest.mark.parametrize("query", ["include=parts", "include=jobs,cost", "include=", "include[]=jobs&include[]=x"])
def test_what_cannot_be_included_is_400(gateway: Gateway, query: str) -> None:
    for path in ("/batches", "/batches/batch_1"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            gateway.call("GET", f"{path}?{query}")
        assert (refused.value.code, json.load(refused.value)["error"]["param"]) == (400, "include")
