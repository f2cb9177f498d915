"""One file through all lanes: the same texts in the same order, and every custom_id as it was written."""

from __future__ import annotations

import json

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import code_of
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import CHAT, MODEL, STAND_INS, text_of

COUNT = 1000
# Texts of custom_ids as a client may spell them. Anthropic takes 1 to 64 of [a-zA-Z0-9_-] and nothing else.
ODD = [
    '" "', r'"\t"', r'"\u0000"', '"\u00a0"', '"\u200b"', '"a b  c"', '" lead and trail "', '"🙂👩\u200d👩\u200d👧"',
    r'"\ud83d\ude42!"', r'"\ud83d"', '"' + "x" * 300 + '"', '"' + "é" * 300 + '"', r'"say \"hi\""', r'"back\\slash"',
    r'"sl\/ash"', '"sl/ash!"', r'"caf\u00e9"', '"café!"', r'"\u0041\u0042"', '"null"', '"0"', '"-1"',
    '"../../etc/passwd"', '"a,b;c|d"', '"{}"', '"[[x]]"', '"%20"', '"\'; --"', '"0000000000aaaaaaaa"', '"msgbatch_1"',
    '"\u202eabc"', '"e\u0301"', r'"line\nbreak"', '"' + "y" * 64 + '"', '"' + "z" * 65 + '"', r'"\u2028"', '"\u2029"',
    '"a\u2028b\x85"',
]  # fmt: skip
TEXTS = ["Say {n}", "Zeile\n{n}", "数 {n} 🙂", "\\{n}\\ \"q\" 'q'", "{n}\t{{}}", "caf\u00e9 {n} \u2028"]
BREAKS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}  # at which some readers of rows cut a line
FAILING = range(7, COUNT, 97)


def _spelled(n: int) -> str:
    return ODD[n] if n < len(ODD) else json.dumps(f"line/{n} é🙂", ensure_ascii=n % 2 == 0)


def _shown(n: int) -> bytes:
    """Return how a row spells the id: as the caller did, but for characters that could cut the row."""
    return "".join(BREAKS.get(sign, sign) for sign in _spelled(n)).encode()


def _text(n: int) -> str:
    return TEXTS[n % len(TEXTS)].format(n=n) + (" [[sandbox:error=400]]" if n in FAILING else "")


def _line(n: int) -> bytes:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": _text(n)}]})
    return f'{{"custom_id":{_spelled(n)},"method":"POST","url":"{CHAT}","body":{body}}}\n'.encode()


def _written(row: bytes) -> bytes:
    """Return the custom_id of a row as its bytes stand there."""
    start, end = row.index(b',"custom_id":') + 13, row.index(b',"response":')
    return row[start:end]


def test_a_thousand_lines_come_back_alike_from_all_lanes(gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    file_id = gateway.upload(b"".join(map(_line, range(COUNT))))
    batches = [gateway.order(file_id, each.provider)["id"] for each in STAND_INS]
    outputs, errors = [], []
    for batch in map(gateway.until, batches):
        assert batch["status"] == "completed"
        counts = {"total": COUNT, "completed": COUNT - len(FAILING), "failed": len(FAILING)}
        assert batch["request_counts"] == counts
        outputs.append(gateway.call("GET", f"/files/{batch['output_file_id']}/content").splitlines())
        errors.append(gateway.call("GET", f"/files/{batch['error_file_id']}/content").splitlines())
    answered = [n for n in range(COUNT) if n not in FAILING]
    for n, *rows in zip(answered, *outputs, strict=True):
        assert [_written(row) for row in rows] == [_shown(n)] * len(STAND_INS)
        assert [text_of(json.loads(row)) for row in rows] == [f"echo: {_text(n)}"] * len(STAND_INS)
    for n, *rows in zip(FAILING, *errors, strict=True):
        assert [_written(row) for row in rows] == [_shown(n)] * len(STAND_INS)
        assert {code_of(json.loads(row)) for row in rows} <= {"400", "request_failed"}  # not all tell a status
    assert sorted(entry["provider"] for entry in sandbox.control.log()) == [each.provider for each in STAND_INS]
    assert sandbox.control.violations() == []
