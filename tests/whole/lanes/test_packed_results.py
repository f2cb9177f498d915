"""Results that unpack to more than is taken: what stands before keeps its answers, the others are told why."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane

pytest.importorskip("fastavro", reason="a dependency that is not installed here: pip install fastavro")
COUNT = 5


def test_a_bomb_among_results_ends_its_lines_by_name(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sandbox.control.options("cohere", bomb=True)
    gateway = Gateway(tmp_path_factory.mktemp("packed"), {"cohere": lane(sandbox, provider="cohere")})
    gateway.start()
    try:
        upload = gateway.upload(jsonl(chat_lines(COUNT, model=find("cohere").model)))
        order = {"input_file_id": upload, "endpoint": "/v1/chat/completions"}
        made = gateway.call("POST", "/batches", order, headers={"x-portkey-virtual-key": "cohere"})
        batch = gateway.until(made["id"])
        assert batch["request_counts"] == {"total": COUNT, "completed": 1, "failed": COUNT - 1}
        errors = gateway.rows(batch["error_file_id"])
        assert {row["error"]["code"] for row in errors} == {"results_too_large"}
        reads = [entry for entry in sandbox.control.requests() if entry["op"] == "store.get"]
        assert len(reads) == 1, "it is not read again"
    finally:
        gateway.close()
