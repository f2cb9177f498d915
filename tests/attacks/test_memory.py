"""Memory: what one workspace sends stays within promise 3 and one line more, whatever the line is when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.probe import Watch
from proxy_plugin.ground.workers import default_count
from tests.attacks.rig import Town

MEGABYTE = 2**20
HEAVY = {False: 6, True: 15}  # megabytes of a line
VALUES = {"lists": "[]", "objects": '{"a":0}', "names": '{"ab":{"cd":[]}}', "numbers": "10000"}
CLAUDE = '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"claude-haiku-4-5",'
REST = '"messages":[{"role":"user","content":"hi"}],"metadata":{"k":['


@pytest.mark.parametrize("kind", VALUES)
def test_a_line_of_tiny_values_takes_no_memory(town: Town, campaign: bool, tmp_path: Path, kind: str) -> None:
    value = VALUES[kind]
    many = ",".join([value] * (HEAVY[campaign] * MEGABYTE // (len(value) + 1)))
    line = f"{CLAUDE}{REST}{many}]}}}}}}\n".encode()
    attacker = town.tenant("attacker", "claude")
    assert town.process is not None
    watch = Watch("memory", town.process.pid, tmp_path / "memory")
    made = [attacker.create(attacker.upload(line), metadata={"n": str(n)})["id"] for n in range(2)]
    ends = [attacker.until(each) for each in made]
    series = watch.stop()
    taken = max(each.value for each in series.samples) - min(each.value for each in series.samples)
    told = f"2 lines of {len(line) / 1e6:.0f} MB ({kind}): +{taken / MEGABYTE:.0f} MB"
    print(f"\n{told}")  # noqa: T201 - for who runs it with -s
    assert [each["request_counts"]["failed"] for each in ends] == [1, 1]
    assert taken < (64 + 32 * default_count()) * MEGABYTE + len(line)
