"""A gateway that is killed between two pieces of an upload goes on with it: one object, one job, no byte sent twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.accounting import check_answers, check_paid_once
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until

PIECE, PIECES, COUNT = 256 << 10, 4, 20
LENGTH = (PIECES * PIECE - PIECE // 2) // COUNT  # characters of a line
VERTEX = find("vertex-ai")


def sends(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [each for each in sandbox.control.requests() if each["op"] == "objects.send"]


@pytest.mark.parametrize("arrived", [1, PIECES])
def test_a_kill_between_two_pieces_costs_nothing(sandbox: Sandbox, tmp_path: Path, arrived: int) -> None:
    """The gateway dies when this piece is there and its reply is not."""
    sandbox.control.reset()
    sandbox.control.options("vertex-ai", **VERTEX.quick, answers="echo")
    sandbox.control.faults([{"on": "objects.send", "kind": "stall", "seconds": 60, "skip": arrived - 1}])
    lines = chat_lines(COUNT, model=VERTEX.model)
    for line in lines:
        line["body"]["messages"].insert(
            0, {"role": "system", "content": "a" * ((PIECES * PIECE - PIECE // 2) // COUNT)}
        )
    gateway = Gateway(tmp_path, {"lane": lane(sandbox, provider="vertex-ai", upload_piece_bytes=PIECE)})
    try:
        gateway.start()
        batch = gateway.create(gateway.upload(jsonl(lines)))
        until(lambda: len(sends(sandbox)) == arrived, "the piece whose reply does not come")
        gateway.kill()
        sandbox.control.faults([])
        gateway.start()
        check_answers(gateway, gateway.until(batch["id"]), lines, style="echo")
    finally:
        gateway.close()
    check_paid_once(sandbox, lines)
    assert len(sends(sandbox)) == PIECES + 1, "each piece once, and one question how much has arrived"
    assert len([each for each in sandbox.control.requests() if each["op"] == "objects.begin"]) == 1
