"""Clients that tidy up delete the input right after the create: the batch goes on, whatever is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once
from tests.support.folders import below
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until
from tests.whole.kills.lives import Lives
from tests.whole.kills.scenes import around, in_part

LINES = chat_lines(6)
POINTS = (
    *("delete_file.before", "delete_file.after", "scan.acted", "split.acted", "merge.acted", "merge.published"),
    *around("scan", "validate", "split", "merge"),
)


@pytest.mark.parametrize("point", in_part(POINTS))
def test_a_kill_around_a_delete_loses_neither_the_batch_nor_the_delete(
    point: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.control.reset()
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    life = Lives(gateway, [f"{point}:1"], 1)
    try:
        ended = life.run(jsonl(LINES), gateway.until, tidies=True)
        assert life.kills == 1, f"{point} was never passed"
        check_answers(gateway, ended, LINES)
        check_paid_once(sandbox, LINES)
        file_id = ended["input_file_id"]
        assert file_id not in {file["id"] for file in gateway.call("GET", "/files")["data"]}
        gateway.kill()
        gateway.start()  # the housekeeping looks at once
        until(lambda: not any(path.name.startswith(file_id) for path in below(gateway.data / "files")), "its bytes go")
    finally:
        gateway.close()
