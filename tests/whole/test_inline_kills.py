"""A create with its requests inline is one batch or none, whatever dies, and its lines run like those of a file."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_own_answer
from tests.support.folders import files_below
from tests.support.lines import chat_lines
from tests.support.raw_http import Raw, raw
from tests.support.stack import KEY, Gateway, GatewayGone, lane

HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "lane"}
LINES = chat_lines(12, marker={4: "[[sandbox:error=400]]"})
BODY = json.dumps({"requests": LINES, "metadata": {"team": "data"}}).encode()
IN_WORKER = ("inline.line", "inline.written")
POINTS = ("inline.spooled", *IN_WORKER, "create.before", "inline.adopted", "inline.stored", "create.after")


def send(gateway: Gateway) -> Raw:
    return raw(gateway, "POST", "/batches", HEADERS, BODY)


def blobs(gateway: Gateway) -> set[str]:
    return {path.name for path in files_below(gateway.data / "files") if not path.suffix}


def check_whole(gateway: Gateway, made: dict[str, Any]) -> None:
    """Every request has its own answer or its own error, once."""
    done = gateway.until(made["id"])
    assert done["request_counts"] == {"total": 12, "completed": 11, "failed": 1}
    rows = [*gateway.rows(done["output_file_id"]), *gateway.rows(done["error_file_id"])]
    by_id = {row["custom_id"]: row for row in rows}
    assert len(rows) == len(by_id) == 12
    for n, line in enumerate(LINES):
        if n != 4:
            check_own_answer(by_id[line["custom_id"]], line)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_create_leaves_one_batch_or_none_and_no_orphan(point: str, sandbox: Sandbox, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start(fail=f"{point}:{'*' if point in IN_WORKER else 1}")
        if point in IN_WORKER:  # three workers die, the gateway goes on
            assert send(gateway).status == 500
            gateway.kill()
        else:
            with pytest.raises((GatewayGone, OSError)):
                send(gateway)
            assert gateway.process is not None
            assert gateway.process.wait(10) == -signal.SIGKILL
        gateway.start()
        known = {file["id"] for file in gateway.call("GET", "/files")["data"]}
        assert blobs(gateway) == known
        assert list((gateway.data / "tmp").iterdir()) == []
        before = gateway.call("GET", "/batches")["data"]
        assert len(before) == len(known) == (point in ("inline.stored", "create.after"))
        answer = send(gateway)  # the first answer was lost, so an equal create is the same
        assert answer.status == 200, answer.body
        made = json.loads(answer.body)
        assert [each["id"] for each in gateway.call("GET", "/batches")["data"]] == [made["id"]]
        content = raw(gateway, "GET", f"/files/{made['input_file_id']}/content").body
        assert [json.loads(line) for line in content.splitlines()] == LINES
        check_whole(gateway, made)
    finally:
        gateway.close()


def test_on_a_full_disk_a_create_is_507_and_nothing_is_left(sandbox: Sandbox, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start(fail="inline.written:*:enospc")
        answer = send(gateway)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (507, "insufficient_storage")
        assert (blobs(gateway), list((gateway.data / "tmp").iterdir())) == (set(), [])
    finally:
        gateway.close()
