"""Promise 1 on generated files and generated providers: every line is answered exactly once, with its own answer."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from proxy_plugin.lines.collect import CollectFacts
from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.merge import MergeFacts
from proxy_plugin.lines.merging.ordinary import Ordinary
from proxy_plugin.lines.row_store import rows
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.providers.base import native_id
from tests.toy.generated import CASES, FAST, Case
from tests.toy.toy_batch import TARGET, ToyBatch, files_below

pytestmark = pytest.mark.usefixtures("toys")


def native_row(mark: str, ordinal: int, what: str, turn: int) -> bytes:
    """Return a result line whose text names its line and its turn."""
    facts: dict[str, Any] = {
        "woven": {"text": f"answer {ordinal}.{turn}", "engine": "wool-1", "read": 3, "wrote": 2},
        "torn": {"status": 400, "why": f"torn {ordinal}.{turn}"},
    }
    return json.dumps([native_id(mark, ordinal), what, facts.get(what)]).encode()


class Run:
    """A case, run: what the provider sent is kept, so that the expectation comes from there and not from our code."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.dice = random.Random(case.seed)
        target = msgspec.structs.replace(TARGET, provider=case.provider, max_lines=case.max_lines)
        self.batch = ToyBatch(folder, [line.encoded(n) for n, line in enumerate(case.lines)], (target,))
        self.parts = self.batch.split().parts
        self.sent: dict[int, list[tuple[str, int]]] = {}
        self.fates = {part.n: self.fate(part) for part in self.parts}
        for part in self.parts:
            if self.fates[part.n].kind == "collected":
                self.collect(part)

    def fate(self, part: PartSpec) -> Fate:
        return self.batch.fate(part, **self.case.fates[part.n % len(self.case.fates)])

    def collect(self, part: PartSpec) -> None:
        """Store the part's results out of order, among rows that are not ours and lines that are not rows."""
        own = [(n, what, turn) for n in self.ordinals(part) for turn, what in enumerate(self.case.lines[n].rows)]
        self.dice.shuffle(own)
        for n, what, turn in own:
            self.sent.setdefault(n, []).append((what, turn))
        results = [native_row(part.mark, *each) for each in own]
        others = [n for n in range(len(self.case.lines) + 3) if n not in self.ordinals(part)]
        strangers = [native_row(part.mark, self.dice.choice(others), "woven", 9) for _ in range(self.case.foreign)]
        strangers += [native_row("0123456789", n, "woven", 9) for n in range(self.case.foreign)]
        for each in (*strangers, *self.case.noise):
            results.insert(self.dice.randint(0, len(results)), each)
        corrupt = sum(1 for each in self.case.noise if each)
        facts = self.batch.collect(part, results)
        woven = sum(1 for _, what, _ in own if what == "woven")
        lines, ran = {n for n, *_ in own}, {n for n, what, _ in own if what not in ("halted", "late")}
        counts = (len(own), woven, len(own) - woven, len(strangers), corrupt, facts.usage, len(lines), len(ran))
        assert facts == CollectFacts(*counts, answered=len({n for n, what, _ in own if what == "woven"}))

    def ordinals(self, part: PartSpec) -> list[int]:
        """Return the part's lines, read from the document that the provider was sent."""
        cards = json.loads(self.batch.document(part))["cards"]
        return [int(card["say"][0][1].removeprefix("question ")) for card in cards]

    def expected(self) -> list[tuple[str, str | None]]:
        """Return every line's outcome and the text it must carry, from what was sent to whom."""
        told: dict[int, tuple[str, str | None]] = {}
        for part in self.parts:
            for n in self.ordinals(part):
                told[n] = self.expected_of(n, self.fates[part.n])
        return [told.get(n, ("rejected", None)) for n in range(len(self.case.lines))]

    def expected_of(self, n: int, fate: Fate) -> tuple[str, str | None]:
        came = self.sent.get(n, [])
        answers = [turn for what, turn in came if what == "woven"]
        if answers:
            return "succeeded", f"answer {n}.{answers[0]}"
        if came:
            what, turn = came[0]
            return ("failed", f"torn {n}.{turn}") if what == "torn" else ("expired", None)
        ends = {"batch_cancelled": "cancelled", "batch_expired": "expired", None: "missing"}
        return ("refused" if fate.kind == "refused" else ends[fate.code]), None


def text_of(row: dict[str, Any]) -> str | None:
    """Return what the provider said in a row, None where the gateway speaks."""
    body = (row["response"] or {}).get("body", {})
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    message = body.get("error", {}).get("message", "")
    return message if message.startswith("torn") else None


def check_rows(run: Run, facts: MergeFacts) -> None:
    order = {line.custom_id: n for n, line in enumerate(run.case.lines)}
    output, error, ledger = (run.batch.merged(name) for name in ("output.jsonl", "error.jsonl", "ledger.jsonl"))
    for file in (output, error, ledger):
        places = [order[row["custom_id"]] for row in file]
        assert places == sorted(places), "not in input order"
    assert Counter(row["custom_id"] for row in (*output, *error)) == Counter(order.keys())
    expected = run.expected()
    assert [row["outcome"] for row in ledger] == [outcome for outcome, _ in expected]
    answers: dict[str, dict[str, Any]] = {row["custom_id"]: row for row in (*output, *error)}
    assert [text_of(answers[line.custom_id]) for line in run.case.lines] == [text for _, text in expected]
    assert {row["custom_id"] for row in output} == {
        line.custom_id for line, (outcome, _) in zip(run.case.lines, expected, strict=True) if outcome == "succeeded"
    }
    assert all((row["response"] is None) != (row["error"] is None) for row in (*output, *error))
    assert (facts.total, facts.completed, facts.failed) == (len(run.case.lines), len(output), len(error))
    assert facts.outcomes == Counter(outcome for outcome, _ in expected)
    check_sums(run, facts, output)


def check_sums(run: Run, facts: MergeFacts, output: Sequence[dict[str, Any]]) -> None:
    read = sum(row["response"]["body"]["usage"]["prompt_tokens"] for row in output)
    assert facts.usage.input_tokens == read
    stored = sum(1 for folder in run.batch.rows.values() for _ in rows(Path(folder)))
    assert facts.superseded == stored - len(run.sent)


def check_case(case: Case) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        run = Run(case, Path(name))
        facts = run.batch.merge(run.fates)
        check_rows(run, facts)
        first = files_below(Path(name, "merge"))
        with mock.patch.object(Ordinary, "add", return_value=False):  # each line by the way that takes any
            assert run.batch.merge(run.fates) == facts
        assert files_below(Path(name, "merge")) == first


def test_every_line_is_answered_exactly_once_in_order_with_its_own_answer(campaign: bool) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    rules = settings(max_examples=5000 if campaign else 200, deadline=None, database=None, suppress_health_check=slow)
    rules(given(CASES)(check_case))()
