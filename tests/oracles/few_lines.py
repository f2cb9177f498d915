"""Send twelve lines to Bedrock, whose jobs have a hundred at least, with real calls of litellm: `make test-oracles`.

A whole gateway before Bedrock's stand-in. A config that lets its lines be called has all of them answered by calls,
each with its own answer, and nothing is made at the batch service or left in the bucket; any other has every line
refused, in words that say what to do. Exits with 1 if either comes otherwise.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from proxy_plugin.providers.sandbox.bedrock.stand_in import STAND_IN
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.lines import jsonl
from tests.support.stack import Gateway, lane

LEAST, COUNT = 100, 12
FAILS = "[[sandbox:error=400]]"  # what the last line says
CONSOLE = Console(width=200, markup=False, highlight=False)
Json = dict[str, Any]


def _lines(*last: str) -> list[Json]:
    said = [f"Say {n}" for n in range(COUNT - len(last))] + [*last]
    return [
        {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": STAND_IN.model, "messages": [{"role": "user", "content": text}], "max_tokens": 64},
        }
        for n, text in enumerate(said)
    ]


def _ran(gateway: Gateway, lines: list[Json], **config: object) -> tuple[Json, list[Json]]:
    """Return the batch of these lines at its end, with its jobs, and its ledger."""
    gateway.asks = {"x-portkey-config": json.dumps({"virtual_key": "few", **config})}
    batch = gateway.until(gateway.create(gateway.upload(jsonl(lines)))["id"], seconds=120)
    told = gateway.call("GET", f"/batches/{batch['id']}?include=jobs")
    ledger = gateway.call("GET", f"/batches/{batch['id']}/lines?attempts=all").splitlines()
    return dict(told), [json.loads(each) for each in ledger]


def called(gateway: Gateway, sandbox: Sandbox) -> None:
    """With `direct` all lines are answered, by one call each."""
    lines = _lines()
    batch, ledger = _ran(gateway, lines, direct=True)
    check_answers(gateway, batch, lines, style="echo")
    assert batch["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
    parts = [(job.get("way"), job.get("job"), job["attempts"], job["request_counts"]["total"]) for job in batch["jobs"]]
    assert parts == [(None, None, 0, COUNT), ("direct", None, 0, COUNT)], batch["jobs"]
    told = Counter((each["outcome"], each.get("code"), each.get("counts", True)) for each in ledger)
    assert told == {("succeeded", None, True): COUNT, ("refused", "too_few_lines", False): COUNT}
    _only_calls(sandbox, {line["body"]["messages"][0]["content"] for line in lines})


def called_in_part(gateway: Gateway, sandbox: Sandbox) -> None:
    """What the provider says of one line is that line's."""
    lines = _lines(FAILS)
    batch, ledger = _ran(gateway, lines, direct=True)
    assert batch["request_counts"] == {"total": COUNT, "completed": COUNT - 1, "failed": 1}
    (row,) = gateway.rows(batch["error_file_id"])
    assert (row["custom_id"], row["response"]["status_code"]) == (lines[-1]["custom_id"], 400)
    assert Counter(each["outcome"] for each in ledger if each.get("counts", True))["failed"] == 1
    _only_calls(sandbox, {line["body"]["messages"][0]["content"] for line in lines})


def refused(gateway: Gateway, sandbox: Sandbox) -> None:
    """Without it no line is sent, and every one says why and what to do."""
    batch, ledger = _ran(gateway, _lines())
    assert batch["request_counts"] == {"total": COUNT, "completed": 0, "failed": COUNT}
    rows = gateway.rows(batch["error_file_id"])
    errors = [row["error"] or row["response"]["body"]["error"] for row in rows]
    assert {each["code"] for each in errors} == {"too_few_lines"}
    for remedy in (f"fewer than {LEAST} lines", "more lines", "another account", "direct: true", "min_lines_per_job"):
        assert all(remedy in each["message"] for each in errors), errors[0]
    assert Counter((each["outcome"], each["code"]) for each in ledger) == {("refused", "too_few_lines"): COUNT}
    assert [each["op"] for each in sandbox.control.requests()] == []


def _only_calls(sandbox: Sandbox, said: set[str]) -> None:
    asked = sandbox.control.requests()
    assert Counter(each["op"] for each in asked) == {"call.converse": COUNT}, asked
    assert {each["id"] for each in asked} == said
    assert sandbox.control.jobs() == []
    assert sandbox.control.left("bedrock") == []


def _tried(case: Callable[[Gateway, Sandbox], None], gateway: Gateway, sandbox: Sandbox) -> bool:
    """Tell whether a case comes otherwise than it must."""
    try:
        case(gateway, sandbox)
    except AssertionError as error:
        CONSOLE.print(f"WRONG {case.__name__}: {error}", *traceback.format_exc(limit=-1).splitlines()[1:3])
        return True
    CONSOLE.print(f"good  {case.__name__}: {case.__doc__}")
    return False


def main() -> int:
    """Return 0 if all comes as it must."""
    wrong = 0
    with (
        TemporaryDirectory() as home,
        Sandbox(providers=["bedrock"], options={"bedrock": {**STAND_IN.quick, "answers": "echo"}}) as sandbox,
    ):
        gateway = Gateway(Path(home), {"few": lane(sandbox, provider="bedrock", min_lines_per_job=LEAST)})
        gateway.start()
        try:
            for case in (called, called_in_part, refused):
                sandbox.control.reset()
                wrong += _tried(case, gateway, sandbox)
        finally:
            gateway.close()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
