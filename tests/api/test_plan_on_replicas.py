"""`POST /v1/batches/plan` where replicas share their bytes: what it asks for is fetched, kept and let go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lines import chat_lines, jsonl
from tests.support.served import FORM, FORM_TYPE, TARGET, WANTED, running


@pytest.mark.parametrize("inline", [False, True])
async def test_a_plan_is_made_of_what_the_store_has(tmp_path: Path, database: str, *, inline: bool) -> None:
    lines = chat_lines(3)
    storage = {"data_dir": str(tmp_path / "one"), "database_url": database, "blob_url": f"file://{tmp_path}/store"}
    async with running(tmp_path, storage=storage) as served:
        if inline:
            wanted = {name: value for name, value in WANTED.items() if name != "input_file_id"} | {"requests": lines}
        else:
            headers = TARGET | FORM_TYPE
            _, file, _ = await served.call("POST", "/v1/files", FORM % jsonl(lines), headers)
            wanted = WANTED | {"input_file_id": file["id"]}
        status, plan, _ = await served.call("POST", "/v1/batches/plan", wanted)
    assert (status, plan.get("request_counts", plan)) == (200, {"total": 3, "valid": 3, "rejected": 0})
