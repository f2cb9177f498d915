"""A plan of a file equals what then happens to it, line for line."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.plan_count import Figures, PlanJob, count
from proxy_plugin.lines.row_store import ERROR, rows
from proxy_plugin.lines.split import split
from tests.support.accounting import ask
from tests.toy.generated import CASES, FAST, Case
from tests.toy.toy_batch import TARGET, ToyBatch
from tests.toy.toy_lane import CHAT
from tests.whole.plan.planning import HAIKU, LINES, MINI, NANO, SONNET, Planning, line, plain, sandbox, started

pytestmark = pytest.mark.usefixtures("toys")

GOOD = [f"@lane/{NANO}", f"@lane/{MINI}", f"@north/{HAIKU}", f"@north/{SONNET}"]
NAMED = [
    *(*GOOD, *GOOD, f"@narrow/{NANO}", f"@picky/{NANO}", f"@south/{HAIKU}"),
    *(f"@picky/{MINI}", f"@nobody/{NANO}", "nothing-known"),
]
EXTRAS: list[dict[str, Any]] = [
    {},
    {},
    {"seed": 1},
    {"logit_bias": {"5": 1}, "presence_penalty": 1},
    {"n": 2},
    {"max_tokens": 20, "temperature": 0.5},
]
SHARED = {
    "strategy": {"mode": "loadbalance"},
    "targets": [
        {"virtual_key": "lane", "weight": 2, "override_params": {"model": NANO, "max_tokens": 7}},
        {"virtual_key": "north", "override_params": {"model": HAIKU}, "drop_params": True},
    ],
}
CONFIGS: list[dict[str, Any]] = [{}, {}, {"drop_params": True}, {"drop_params": ["seed"]}, {"strict": True}, SHARED]
FAULTY: list[bytes] = [b'{"custom_id":', b'{"custom_id":"x","method":"GET","url":"/v1/chat/completions","body":{}}']
LIVE = settings(  # shrinking a failure would take minutes: every example is a batch that runs
    deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Entry = tuple[str, dict[str, Any], str]  # what the line names, says beside that, and asks
ENTRIES = st.tuples(
    st.sampled_from(NAMED),
    st.sampled_from(EXTRAS),
    st.sampled_from(["", "", "漢字 é", "long " * 60, "too long " * 400]),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planning]:
    with sandbox() as box:
        made = started(tmp_path_factory.mktemp("plans"), box)
        yield made
        made.close()


def content(entries: list[Entry], faulty: bytes | None) -> bytes:
    """Return a file with a blank line after every third, and with a line that is no request."""
    written = [json.dumps(line(n, model, text, extra)).encode() for n, (model, extra, text) in enumerate(entries)]
    if faulty is not None:
        written.insert(len(written) // 2, faulty)
    return b"".join(each + (b"\n\n" if n % 3 == 2 else b"\n") for n, each in enumerate(written))


@settings(LIVE, max_examples=20)
@given(st.lists(ENTRIES, min_size=12, max_size=30), st.sampled_from(CONFIGS))
def test_a_plan_equals_what_then_happens(gateway: Planning, entries: list[Entry], config: dict[str, Any]) -> None:
    plan, batch = planned_and_run(gateway, entries, config, None)
    assert plan["would_fail"] == (batch["status"] == "failed")
    if plan["would_fail"]:
        check_faults(plan, batch)
    else:
        check_lines(gateway, plan, batch)


@settings(LIVE, max_examples=6)
@given(st.lists(ENTRIES, min_size=1, max_size=12), st.sampled_from(CONFIGS), st.sampled_from(FAULTY))
def test_what_fails_a_batch_is_in_its_plan(
    gateway: Planning, entries: list[Entry], config: dict[str, Any], faulty: bytes
) -> None:
    plan, batch = planned_and_run(gateway, entries, config, faulty)
    assert (plan["would_fail"], batch["status"]) == (True, "failed")
    check_faults(plan, batch)


def planned_and_run(
    gateway: Planning, entries: list[Entry], config: dict[str, Any], faulty: bytes | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    headers = LINES | ({"x-portkey-config": json.dumps(config)} if config else {})
    file_id = gateway.upload(content(entries, faulty))
    return gateway.plan(file_id, headers), gateway.run(file_id, headers)


def check_faults(plan: dict[str, Any], batch: dict[str, Any]) -> None:
    told = [fault for fault in plan["errors"]["data"] if fault in batch["errors"]["data"]]
    assert told == batch["errors"]["data"], "not everything that failed the batch was foretold"
    assert batch.get("output_file_id") is None


def check_lines(gateway: Planning, plan: dict[str, Any], batch: dict[str, Any]) -> None:
    ledger = gateway.ledger(batch["id"])
    rejected = [row for row in ledger if row["outcome"] == "rejected"]
    sent = [row for row in ledger if row["outcome"] != "rejected"]
    counts = {"total": len(ledger), "valid": len(sent), "rejected": len(rejected)}
    assert plan["request_counts"] == counts
    assert [(each["line"], each["code"]) for each in plan["errors"]["data"]] == [
        (row["line"], row["code"]) for row in rejected
    ]
    rows = gateway.rows(batch["error_file_id"])
    errors = {row["custom_id"]: row["response"]["body"]["error"] for row in rows if row["error"] is None}
    told = [(each["code"], each["message"]) for each in plan["errors"]["data"]]
    assert told == [(found["code"], found["message"]) for row in rejected if (found := errors[row["custom_id"]])]
    assert Counter({each["param"]: each["lines"] for each in plan["dropped"]}) == Counter(
        param for row in ledger for param in row.get("dropped", ())
    )
    for code, lines in Counter(row["code"] for row in rejected).items():  # a line counts at each of its parameters
        told_of = [each["lines"] for each in plan["refused"] if each["code"] == code]
        assert max(told_of) <= lines <= sum(told_of)
    check_targets(gateway, plan, batch, sent)


def check_targets(
    gateway: Planning, plan: dict[str, Any], batch: dict[str, Any], sent: Sequence[Mapping[str, Any]]
) -> None:
    def key(row: Mapping[str, Any]) -> tuple[str, str, str]:
        return row["provider"], row["virtual_key"], plain(row["model"])

    targets = {key(target): target for target in plan["targets"]}
    assert len(targets) == len(plan["targets"])
    assert {name: target["lines"] for name, target in targets.items()} == Counter(map(key, sent))
    jobs = {name: {row["job"] for row in sent if key(row) == name} for name in targets}
    assert {name: target["jobs"] for name, target in targets.items()} == {name: len(ids) for name, ids in jobs.items()}
    made = gateway.call("GET", f"/batches/{batch['id']}?include=jobs")["jobs"]
    assert plan["jobs"] == len(made) == len({row["job"] for row in sent})
    stored: Counter[str] = Counter()
    for slug, size in ask(gateway, f"SELECT slug, bytes FROM parts WHERE batch_id = '{batch['id']}'"):
        stored[slug] += size
    told: Counter[str] = Counter()
    for target in plan["targets"]:
        told[target["virtual_key"]] += target["bytes"]
    assert told == stored


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_a_plan_and_a_split_of_a_file_agree(case: Case) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        target = msgspec.structs.replace(TARGET, provider=case.provider, max_lines=case.max_lines)
        batch = ToyBatch(Path(folder), [each.encoded(n) for n, each in enumerate(case.lines)], (target,))
        before = sorted(Path(folder).iterdir())
        figures = count(PlanJob(batch.split_job(), frozenset({CHAT})))
        assert sorted(Path(folder).iterdir()) == before, "a plan has written something"
        check_figures(figures, batch, Path(folder) / "split" / "rejected")


def check_figures(figures: Figures, batch: ToyBatch, remarks: Path) -> None:
    manifest = split(batch.split_job())
    assert figures.jobs == len(manifest.parts)
    assert (figures.placed, figures.refused) == (manifest.total - manifest.rejected, manifest.rejected)
    assert sum(target.bytes for target in figures.targets) == sum(part.bytes for part in manifest.parts)
    assert sum(target.lines for target in figures.targets) == sum(part.lines for part in manifest.parts)
    refused = [row for row in rows(remarks) if row.kind == ERROR]
    assert [(fault.code, fault.param) for fault in figures.refused_lines] == [
        (row.meta.code, row.meta.param) for row in refused
    ]
    assert [fault.message for fault in figures.refused_lines] == [json.loads(row.text)["message"] for row in refused]
