"""A file that is scanned and split in ranges: killed in the middle of it, nothing is lost and nothing paid twice."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.whole.kills.lives import Lives, until_settled

SHORT = """
import runpy, sys
from proxy_plugin.lines.ranges import independent
independent.LEAST_BYTES = 400
del sys.argv[:3]  # -c, the interpreter, -m
runpy.run_module("proxy_plugin", run_name="__main__", alter_sys=True)
"""
LINES = chat_lines(24, marker={3: "[[sandbox:error=400]]"})
PARTS = 3


def test_a_gateway_killed_over_ranges_loses_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.control.reset()
    key = lane(sandbox, max_lines_per_job=10, settle_seconds=1)
    gateway = Gateway(tmp_path, {"lane": key}, engine={"workers": 2})
    gateway.wrap = [sys.executable, "-c", SHORT]
    try:
        life = Lives(gateway, ["scan.acted:1", "split.acted:1"], 2)
        batch = life.run(jsonl(LINES), partial(until_settled, gateway, sandbox, PARTS, may_wait=False))
        assert life.kills == 2
        check_answers(gateway, batch, LINES)
        check_paid_once(sandbox, LINES)
        told = gateway.log.read_text()
        assert '"event": "scanned_in_ranges"' in told
        assert '"event": "split_in_ranges"' in told
    finally:
        gateway.close()
