"""What a plan tells of lines that may fail: the targets behind the first, and what every line costs at all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.api.batches.plan_answer import Found, plan_object
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.plan_count import Figures, PlanJob, count
from proxy_plugin.lines.scan import Facts, UrlFacts
from proxy_plugin.routing.route import Changes, Fallback, Rescue, Rules, Share, To
from tests.toy.toy_batch import ToyBatch, chat
from tests.toy.toy_lane import CHAT

MINI = TargetSpec("mini", "openai", "gpt-4o-mini")
HAIKU = TargetSpec("haiku", "anthropic", "claude-haiku-4-5")
NANO = TargetSpec("nano", "openai", "gpt-4.1-nano")
ALL = (MINI, HAIKU, NANO)
FACTS = Facts(10, 1, 0, (), 0, {}, UrlFacts(), {}, 0, 1, "")


def planned(
    path: Path, rule: Any, *specs: TargetSpec, attempts: int = 9, rescue: Rescue | None = None, **line: Any
) -> Figures:
    batch = ToyBatch(path, [chat(str(n), "word " * 100, **({"max_tokens": 50} | line)) for n in range(10)])
    job = msgspec.structs.replace(batch.split_job(), targets=specs or ALL, rules=Rules(rule=rule), rescue=rescue)
    return count(PlanJob(job, frozenset({CHAT}), attempts=attempts))


def told(figures: Figures) -> list[tuple[str, int, str]]:
    return (
        [] if figures.prospects is None else [(each.slug, each.lines, each.way) for each in figures.prospects.targets]
    )


def cost(figures: Figures) -> float:
    [target] = figures.targets
    assert target.cost is not None
    return target.cost


def test_every_line_is_paid_at_every_target_it_could_come_to(tmp_path: Path) -> None:
    figures = planned(tmp_path, Fallback((To(0), To(1), To(2))))
    assert told(figures) == [("haiku", 10, "native"), ("nano", 10, "native")]
    assert figures.prospects is not None
    alone = [cost(planned(tmp_path / str(n), To(n))) for n in range(3)]
    assert [each.cost for each in figures.prospects.targets] == pytest.approx(alone[1:])
    answer = plan_object(Found(CHAT, FACTS, (), figures))
    assert answer["estimated_cost"] == pytest.approx(alone[0])
    assert answer["worst_case_cost"] == pytest.approx(sum(alone))
    assert [target["virtual_key"] for target in answer["rescue"]["targets"]] == ["haiku", "nano"]
    assert (answer["rescue"]["attempts"], "direct_before" in answer["rescue"]) == (9, False)
    assert any("asked again, at most 9 times" in caveat for caveat in answer["caveats"])


def test_attempts_bound_what_is_followed(tmp_path: Path) -> None:
    assert told(planned(tmp_path, Fallback((To(0), To(1), To(2))), attempts=1)) == [("haiku", 10, "native")]
    again = planned(tmp_path / "again", To(0), attempts=3, rescue=Rescue())
    assert told(again) == [("mini", 30, "native")]
    assert again.prospects is not None
    assert again.prospects.targets[0].cost == pytest.approx(3 * cost(again))


def test_a_plan_without_anything_behind_tells_of_no_rescue(tmp_path: Path) -> None:
    figures = planned(tmp_path, Share((1.0, 1.0), (To(0), To(1))))
    answer = plan_object(Found(CHAT, FACTS, (), figures))
    assert figures.prospects is None
    assert not {"rescue", "worst_case_cost"} & answer.keys()


def test_a_target_that_may_be_called_is_told_as_called_near_the_end(tmp_path: Path) -> None:
    called = msgspec.structs.replace(HAIKU, direct="allowed")
    behind = planned(tmp_path, Fallback((To(0), To(1))), MINI, called, attempts=1)
    assert told(behind) == [("haiku", 10, "native")]
    late = planned(tmp_path / "l", Fallback((To(0), To(1))), MINI, called, attempts=1, rescue=Rescue(None, 5_400.0))
    assert told(late) == [("haiku", 10, "direct")]
    answer = plan_object(Found(CHAT, FACTS, (), late))
    assert answer["rescue"]["direct_before"] == 5_400
    assert answer["rescue"]["targets"][0]["way"] == "direct"
    assert any("5400 seconds before the end" in caveat for caveat in answer["caveats"])
    assert any("at most those that were under way are made once more" in caveat for caveat in answer["caveats"])


def test_a_target_that_may_not_have_a_line_is_passed_over(tmp_path: Path) -> None:
    closed = msgspec.structs.replace(HAIKU, models=("claude-opus-*",))
    assert told(planned(tmp_path, Fallback((To(0), To(1), To(2))), MINI, closed, NANO)) == [("nano", 10, "native")]


def test_lines_that_go_on_in_the_split_already_are_planned_where_they_are(tmp_path: Path) -> None:
    figures = planned(tmp_path, Fallback((To(1), To(0), To(2))), logprobs=True)
    assert [(target.slug, target.lines) for target in figures.targets] == [("mini", 10)]
    assert (figures.refused, told(figures)) == (0, [("nano", 10, "native")])


def test_what_a_target_sets_counts_at_that_target(tmp_path: Path) -> None:
    short = msgspec.structs.replace(HAIKU, changes=Changes({"max_tokens": msgspec.Raw(b"1")}))
    one, other = (
        planned(tmp_path / spec.slug / str(n), Fallback((To(0), To(1))), MINI, spec).prospects
        for n, spec in enumerate((HAIKU, short))
    )
    assert one is not None
    assert other is not None
    assert (one.targets[0].cost or 0) > 2 * (other.targets[0].cost or 0) > 0


def test_without_a_price_the_model_is_named(tmp_path: Path) -> None:
    unknown = TargetSpec("x", "openai", "gpt-nobody-knows")
    answer = plan_object(Found(CHAT, FACTS, (), planned(tmp_path, Fallback((To(0), To(1))), MINI, unknown)))
    assert any("No price is known for gpt-nobody-knows" in caveat for caveat in answer["caveats"])
    assert answer["worst_case_cost"] == answer["estimated_cost"]
