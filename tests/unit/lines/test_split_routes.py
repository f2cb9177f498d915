"""Cutting one file for many targets: which part has which line, what is done to bodies, and what is bounded."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines import split as split_module
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.manifest import MANIFEST, REJECTED, Manifest
from proxy_plugin.lines.plan_count import PlanJob, count
from proxy_plugin.lines.row_store import ERROR, NOTE
from proxy_plugin.lines.split import SplitJob, split
from proxy_plugin.routing.route import ByLine, Case, Changes, Name, Names, Option, Rules, Share, To, When
from tests.support.descriptors import few_descriptors
from tests.toy.toy_batch import ToyBatch, chat, files_below
from tests.toy.toy_lane import CHAT, EMBEDDINGS
from tests.toy.toy_splits import account, assigned, cards, embedding, remarks

pytestmark = pytest.mark.usefixtures("toys")


def job(batch: ToyBatch, rules: Rules, *targets: TargetSpec, endpoint: str = CHAT) -> SplitJob:
    made = msgspec.structs.replace(batch.split_job(), targets=targets, rules=rules, endpoint=endpoint)
    batch.manifest = Manifest("", 0, 0, ())
    return made


def cut(batch: ToyBatch, rules: Rules, *targets: TargetSpec, endpoint: str = CHAT) -> Manifest:
    batch.manifest = split(job(batch, rules, *targets, endpoint=endpoint))
    return batch.manifest


def test_lines_of_one_file_go_to_many_accounts(tmp_path: Path) -> None:
    names = Names(slugs={"a": 0, "b": 1}, models={"c": Name((Option(2, "wool-c"),))})
    models = ["@a/x", "@b/x", "c", "@a/y", "@nobody/x", "c"]
    batch = ToyBatch(tmp_path, [chat(str(n), model=model) for n, model in enumerate(models)])
    manifest = cut(batch, Rules(rule=ByLine(), names=names), account("a"), account("b"), account("c"))
    assert [(part.slug, part.lines) for part in manifest.parts] == [("a", 2), ("b", 1), ("c", 2)]
    assert assigned(batch) == [0, 1, 2, 0, REJECTED, 2]
    assert [card["engine"] for n in range(3) for card in cards(batch, n)] == ["x", "y", "x", "wool-c", "wool-c"]
    [refused] = remarks(batch, ERROR)
    assert (refused.ordinal, refused.meta.code, refused.meta.slug) == (4, "invalid_virtual_key", None)
    assert b"nobody" not in refused.text


def test_two_ways_to_one_account_share_its_parts(tmp_path: Path) -> None:
    specs = (account("a", model="x"), account("a", model="y"))
    batch = ToyBatch(tmp_path, [chat(str(n)) for n in range(6)])
    manifest = cut(batch, Rules(rule=Share((1.0, 1.0), (To(0), To(1)))), *specs)
    assert [part.lines for part in manifest.parts] == [6]
    assert Counter(card["engine"] for card in cards(batch, 0)) == {"x": 3, "y": 3}
    single = [msgspec.structs.replace(spec, provider="toy-single") for spec in specs]
    assert {
        (part.model, part.lines) for part in cut(batch, Rules(rule=Share((1.0, 1.0), (To(0), To(1)))), *single).parts
    } == {
        ("x", 3),
        ("y", 3),
    }


def test_a_body_is_changed_before_it_is_translated(tmp_path: Path) -> None:
    raw = msgspec.Raw
    changes = Changes({"max_tokens": raw(b"5")}, {"seed": raw(b"1")}, ("user",))
    lines = [chat("0", max_tokens=900), chat("1", user="u", seed=7)]
    batch = ToyBatch(tmp_path, lines)
    strict = account("a", changes=msgspec.structs.replace(changes, default={}))
    manifest = cut(batch, Rules(), strict)
    assert [card["most"] for card in cards(batch, 0)] == [5]
    [refused] = remarks(batch, ERROR)
    assert (refused.ordinal, refused.meta.param) == (1, "body.seed")
    manifest = cut(batch, Rules(), account("a", changes=changes, drop_params=True))
    assert manifest.rejected == 0
    assert manifest.parts[0].dropped == {"seed": 2, "user": 1}
    assert [(row.ordinal, row.meta.dropped) for row in remarks(batch, NOTE)] == [(0, ("seed",)), (1, ("user", "seed"))]


def test_conditions_look_at_each_line(tmp_path: Path) -> None:
    rule = When((Case({"params.max_tokens": {"$gt": 100}}, 1), Case({"metadata.team": "x"}, 0)), (To(0), To(1)))
    batch = ToyBatch(tmp_path, [chat(str(n), max_tokens=n * 60) for n in range(4)])
    manifest = cut(batch, Rules(rule=rule, metadata={"team": "x"}), account("a"), account("b"))
    assert [(part.slug, part.lines) for part in manifest.parts] == [("a", 2), ("b", 2)]
    manifest = cut(batch, Rules(rule=rule), account("a"), account("b"))
    assert (assigned(batch), manifest.rejected) == ([REJECTED, REJECTED, 0, 0], 2)
    assert {row.meta.code for row in remarks(batch, ERROR)} == {"no_target"}


@pytest.mark.parametrize("endpoint", ["auto", f"{CHAT},{EMBEDDINGS}"])
def test_parts_of_a_mixed_file_have_one_endpoint(tmp_path: Path, endpoint: str) -> None:
    batch = ToyBatch(tmp_path, [embedding("0"), chat("1"), embedding("2"), chat("3")])
    manifest = cut(batch, Rules(), account("a"), endpoint=endpoint)
    assert [(part.endpoint, part.lines) for part in manifest.parts] == [(EMBEDDINGS, 2), (CHAT, 2)]
    assert assigned(batch) == [0, 1, 0, 1]


def test_a_line_whose_endpoint_its_lane_lacks_is_refused_alone(tmp_path: Path) -> None:
    other = json.loads(chat("2")) | {"url": "/v1/responses"}
    batch = ToyBatch(tmp_path, [chat("0"), embedding("1"), json.dumps(other).encode()])
    assert cut(batch, Rules(), account("a"), endpoint="auto").rejected == 1
    [refused] = remarks(batch, ERROR)
    assert (refused.ordinal, refused.meta.code, refused.meta.param) == (2, "unsupported_endpoint", "url")


def test_allow_lists_of_account_and_caller_are_checked_on_every_line(tmp_path: Path) -> None:
    models = ["wool-1", "silk", "wool-2", "wool-1"]
    batch = ToyBatch(tmp_path, [chat(str(n), model=model) for n, model in enumerate(models)])
    cut(batch, Rules(models=("*-1", "silk")), account("a", models=("wool-*",)))
    assert assigned(batch) == [0, REJECTED, REJECTED, 0]
    own, callers = remarks(batch, ERROR)
    assert {own.meta.code, callers.meta.code} == {"model_not_allowed"}
    assert b"allow-list of virtual key 'a'; it allows: wool-*" in own.text
    assert b"allow-list of this API key" in callers.text


@pytest.mark.parametrize("through", ["target", "rule", "condition"])
def test_a_strict_route_names_its_first_100_lines_and_leaves_nothing_to_send(tmp_path: Path, through: str) -> None:
    names, condition = Names(slugs={"a": 0}), Case({"params.max_tokens": 5}, 0)
    ways: dict[str, tuple[Rules, TargetSpec]] = {
        "target": (Rules(), account("a", strict=True)),
        "rule": (Rules(rule=ByLine(strict=True), names=names), account("a")),
        "condition": (Rules(rule=When((condition,), (To(0),), None, True)), account("a")),
    }
    odd: list[dict[str, Any]] = [{"max_tokens": 5}, {"seed": 1}]
    batch = ToyBatch(tmp_path, [chat(str(n), model="@a/x", **odd[n % 2]) for n in range(300)])
    rules, spec = ways[through]
    manifest = cut(batch, rules, spec)
    assert len(manifest.faults) == 100
    assert [fault.line for fault in manifest.faults[:3]] == [2, 5, 7]  # a blank line follows every third
    assert not (tmp_path / "split" / MANIFEST).exists()
    assert not manifest.parts


def test_a_target_that_is_not_strict_fails_only_its_line(tmp_path: Path) -> None:
    rules = Rules(rule=When((Case({"params.user": "strict"}, 0),), (To(0), To(1)), 1))
    lines = [chat("0", user="strict", drop=1), chat("1", seed=1), chat("2")]
    batch = ToyBatch(tmp_path, lines)
    manifest = cut(batch, rules, account("a", strict=True), account("b"))
    assert [fault.line for fault in manifest.faults] == [1]


def test_hundreds_of_models_open_no_hundreds_of_files(tmp_path: Path) -> None:
    models = 500
    lines = [chat(f"{turn}-{n}", model=f"wool-{n}") for turn in range(2) for n in range(models)]
    batch = ToyBatch(tmp_path, lines)
    with few_descriptors():
        manifest = cut(batch, Rules(), account("a", provider="toy-single"))
    assert [part.lines for part in manifest.parts] == [2] * models


TOO_MANY = [  # models of the lines, how many lines a job may have, how many jobs a batch may, how many it would need
    ("abc", None, 3, None),
    ("abcd", None, 3, ("4", 4)),
    ("aaaa", None, 3, None),
    ("aaaa", 1, 3, ("4", 4)),
    ("aaaa", 2, 1, ("2", 3)),
    ("ababab", None, 1, ("2", 2)),
    ("ababab", 1, 5, ("6", 6)),
    ("ababab", 2, 4, None),
    ("abcdefghij", None, 2, ("10", 3)),
    ("a", None, 1, None),
    ("aab", 1, 2, ("3", 3)),
]


@pytest.mark.parametrize(("models", "each", "most", "told"), TOO_MANY)
def test_a_file_that_needs_too_many_jobs_is_refused_whole(
    tmp_path: Path, models: str, each: int | None, most: int, told: tuple[str, int] | None
) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n), model=f"wool-{name}") for n, name in enumerate(models)])
    spec = account("a", provider="toy-single", max_lines=each)
    made = msgspec.structs.replace(job(batch, Rules(), spec), max_jobs=most)
    manifest, figures = split(made), count(PlanJob(made, frozenset({CHAT})))
    assert tuple(manifest.faults) == figures.too_many
    assert figures.fatal is (told is not None)
    assert (tmp_path / "split" / MANIFEST).exists() is (told is None)
    assert len(list((tmp_path / "split" / "parts").iterdir())) <= most
    if told is None:
        assert len(manifest.parts) == figures.jobs <= most
        return
    needed, ordinal = told
    [fault] = manifest.faults
    assert (fault.code, fault.param) == ("too_many_jobs", "body.model")
    assert f"would need {needed} jobs, and a batch may have {most} " in fault.message
    assert fault.line == number_of(ordinal - 1)
    assert figures.jobs == int(needed)


def number_of(ordinal: int) -> int:
    """Return the number of a line: a blank one follows every third."""
    return 1 + ordinal + ordinal // 3


def test_counting_ends_where_it_would_grow_with_the_file(tmp_path: Path) -> None:
    lines = split_module.MAX_PARTS + 7
    batch = ToyBatch(tmp_path, [chat(str(n), model=f"wool-{n}") for n in range(lines)])
    made = msgspec.structs.replace(job(batch, Rules(), account("a", provider="toy-single")), max_jobs=10)
    [fault] = split(made).faults
    assert f"would need {split_module.MAX_PARTS} or more jobs" in fault.message
    figures = count(PlanJob(made, frozenset({CHAT})))
    assert (figures.jobs, figures.refused) == (split_module.MAX_PARTS, 7)


def test_what_is_remembered_does_not_grow_with_the_models_of_a_file(tmp_path: Path) -> None:
    """Names that fit a pattern, each of them new: 22,000 of them leave what 11,000 left."""
    names = Names(models={"*": Name((Option(0, "*"),))})
    spec = account("a", models=("nothing-*",))
    peaks = []
    for lines in (11_000, 22_000):
        batch = ToyBatch(tmp_path / str(lines), [chat(str(n), model=f"m-{n}-{'x' * 100}") for n in range(lines)])
        made = job(batch, Rules(rule=ByLine(), names=names), spec)
        batch.lines = []
        tracemalloc.start()
        assert split(made).rejected == lines
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.25


MODELS = st.sampled_from(["@a/x", "@b/y", "pair", "@nobody/z", "unknown", "@a/x-2"])
BODIES = st.fixed_dictionaries({}, optional={"max_tokens": st.integers(1, 2_000), "seed": st.just(1)})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MODELS, BODIES), min_size=1, max_size=40), st.booleans())
def test_every_line_is_in_exactly_one_place_and_the_same_one_again(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, dict[str, Any]]], one_model: bool
) -> None:
    provider = "toy-single" if one_model else "toy"
    names = Names(slugs={"a": 0, "b": 1}, models={"pair": Name((Option(0, "x", 2.0), Option(1, "y", 1.0)))})
    lines = [chat(str(n), f"text {n}", model, **body) for n, (model, body) in enumerate(asked)]
    batch = ToyBatch(tmp_path_factory.mktemp("cut"), lines)
    rules = Rules(rule=ByLine(), names=names)
    specs = [account(slug, provider=provider, max_lines=5) for slug in ("a", "b")]
    manifest = cut(batch, rules, *specs)
    if all(model in {"@nobody/z", "unknown"} for model, _ in asked):
        assert (len(manifest.faults), manifest.parts) == (len(asked), ())
        return
    first = files_below(batch.folder / "split")
    places = assigned(batch)
    held = Counter(places)
    assert {n: count for n, count in held.items() if n != REJECTED} == {part.n: part.lines for part in manifest.parts}
    assert held[REJECTED] == manifest.rejected == len(remarks(batch, ERROR))
    for part in manifest.parts:
        said = [card["say"][0][1] for card in cards(batch, part.n)]
        assert said == [f"text {n}" for n, place in enumerate(places) if place == part.n]
    assert cut(batch, rules, *specs) == manifest
    assert files_below(batch.folder / "split") == first
