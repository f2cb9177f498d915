"""The choice of a target for each line: exactly one, the same on every run, in the shares that were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.choose import Chooser, TargetSpec
from proxy_plugin.lines.choosing.choice import Choice, Misrouted
from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.routing.route import (
    ByLine,
    Case,
    Changes,
    Name,
    Names,
    Option,
    Route,
    Rule,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
    decode_route,
    encode_route,
    own_target,
)
from tests.support.rules import RULES, SPECS, line

FIXED = [TargetSpec(slug="fixed", provider="toy", model="wool")]


def choices(rules: Rules, lines: Sequence[Envelope], specs: Sequence[TargetSpec] = SPECS) -> list[Choice]:
    chooser = Chooser(specs, rules)
    return [chooser.choose(each) for each in lines]


def targets(rule: Rule, lines: Sequence[Envelope]) -> list[int]:
    return [choice.target for choice in choices(Rules(rule=rule), lines)]


@given(RULES, st.lists(st.integers(0, 60), max_size=60))
def test_every_line_has_one_target_and_a_second_run_says_the_same(rule: Rule, numbers: list[int]) -> None:
    lines = [line(n=n) for n in numbers]
    found = targets(rule, lines)
    assert len(found) == len(lines)
    assert set(found) <= set(range(8))
    assert targets(rule, lines) == found
    stored = encode_route(Route((StoredTarget("a", "toy"),), rules=Rules(rule=rule)))
    read = decode_route(stored).rules
    assert read is not msgspec.UNSET
    assert read.rule is not None
    assert targets(read.rule, lines) == found


@given(RULES, st.lists(st.integers(0, 60), min_size=1, max_size=60), st.data())
def test_the_choices_of_a_beginning_do_not_depend_on_what_follows(
    rule: Rule, numbers: list[int], data: st.DataObject
) -> None:
    lines = [line(n=n) for n in numbers]
    cut = data.draw(st.integers(0, len(lines)))
    assert targets(rule, lines)[:cut] == targets(rule, lines[:cut])


def test_shares_of_10000_lines_are_within_one_percent() -> None:
    rule = Share((70.0, 30.0), (To(0), To(1)))
    found = targets(rule, [line()] * 10_000)
    shares = Counter(found)
    assert abs(shares[0] - 7_000) <= 100
    assert abs(shares[1] - 3_000) <= 100
    assert targets(rule, [line()] * 10_000) == found


@pytest.mark.parametrize("count", [10, 100, 1_000, 10_000])
def test_shares_are_right_at_any_length(count: int) -> None:
    weights = (5.0, 3.0, 1.5, 0.5)
    shares = Counter(targets(Share(weights, tuple(map(To, range(4)))), [line()] * count))
    for target, weight in enumerate(weights):
        assert abs(shares[target] - count * weight / 10) <= 4


@pytest.mark.parametrize("period", [2, 3, 8, 13])
def test_lines_that_come_to_a_nested_node_in_step_are_still_shared(period: int) -> None:
    """Every `period`-th line comes to the inner node, which must not see one and the same turn each time."""
    inner = Share((70.0, 30.0), (To(0), To(1)))
    rule = When((Case({"params.n": 0}, 0),), (inner, To(2)), 1)
    shares = Counter(targets(rule, [line(n=n % period) for n in range(10_000 * period)]))
    assert abs(shares[0] - 7_000) <= 100
    assert shares[0] + shares[1] == 10_000


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 10])
def test_kinds_of_lines_that_take_turns_are_all_shared(period: int) -> None:
    """Strict turns would give one target all the long lines of a file in which every second one is long."""
    found = targets(Share((70.0, 30.0), (To(0), To(1))), [line()] * 10_000 * period)
    for kind in range(period):
        assert abs(Counter(found[kind::period])[0] - 7_000) <= 100


def test_groups_within_groups_share_what_comes_to_them() -> None:
    inner = Share((1.0, 1.0), (To(0), To(1)))
    shares = Counter(targets(Share((3.0, 1.0), (inner, To(2))), [line()] * 8_000))
    assert all(abs(shares[target] - share) <= 20 for target, share in enumerate((3_000, 3_000, 2_000)))


def test_a_tiny_weight_is_no_mistake() -> None:
    shares = Counter(targets(Share((1.0, 1e-12), (To(0), To(1))), [line()] * 1_000))
    assert shares == {0: 1_000}


def test_conditions_decide_in_their_order_and_the_default_last() -> None:
    cases = (Case({"params.n": {"$lt": 5}}, 1), Case({"metadata.team": "ads", "params.n": {"$lt": 9}}, 2))
    rule = When(cases, (To(0), To(1), To(2)), 0)
    for metadata, expected in (({"team": "ads"}, [1, 2, 0]), ({}, [1, 0, 0])):
        rules = Rules(rule=rule, metadata=metadata)
        assert [choice.target for choice in choices(rules, [line(n=n) for n in (4, 8, 12)])] == expected


@pytest.mark.parametrize("strict", [True, False])
def test_a_line_that_meets_no_condition_is_refused(strict: bool) -> None:
    rule = When((Case({"params.n": 1}, 0),), (To(0),), None, strict)
    with pytest.raises(Misrouted) as refusal:
        choices(Rules(rule=rule), [line(n=2)])
    assert (refusal.value.code, refusal.value.strict) == ("no_target", strict)


def test_a_stored_pattern_that_re2_refuses_fails_the_batch_at_the_line_that_meets_it() -> None:
    """Earlier versions took Python's syntax; their batches may still be to be split."""
    cases = (Case({"params.n": 1}, 0), Case({"$or": [{"params.model": {"$regex": r"^wool\Z"}}]}, 1))
    chooser = Chooser(SPECS, Rules(rule=Share((1.0, 1.0), (When(cases, (To(0), To(1)), 0), To(2)))))
    with pytest.raises(Misrouted, match="none that RE2 takes") as refusal:
        [chooser.choose(line()) for _ in range(5)]
    assert (refusal.value.code, refusal.value.strict) == ("invalid_pattern", True)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        ("gpt", "gpt"),
        ("@slug-0/gpt", "gpt"),
        ("@other/maker/gpt", "maker/gpt"),
        ("@slug-7/gpt", "gpt"),
        ("@stranger/gpt", "@stranger/gpt"),
        ("@other", "@other"),
        ("@other/", "@other/"),
        ("@cf/meta/llama", "@cf/meta/llama"),
        ("@", "@"),
    ],
)
def test_the_route_is_stronger_than_the_account_that_a_line_names(model: str, left: str) -> None:
    [choice] = choices(Rules(slugs=("other",)), [line(model)])
    assert choice == Choice(0, left, left)
    assert choices(Rules(slugs=("other",)), [line(model)], FIXED) == [Choice(0, "wool", "wool")]


@pytest.mark.parametrize(
    ("model", "left"),
    [
        ("gpt", "gpt"),
        ("@slug-0/gpt", "gpt"),
        ("@slug-0/maker/gpt", "maker/gpt"),
        ("@other/gpt", None),
        ("@other/maker/gpt", None),
        ("@another/@slug-0/gpt", None),
        ("@stranger/gpt", "@stranger/gpt"),
        ("@other", "@other"),
        ("@other/", "@other/"),
        ("@cf/meta/llama", "@cf/meta/llama"),
    ],
)
@pytest.mark.parametrize("specs", [SPECS[:1], [SPECS[0], TargetSpec(slug="slug-0", provider="toy", strict=True)]])
def test_one_account_for_all_lines_takes_none_that_names_another(
    model: str, left: str | None, specs: list[TargetSpec]
) -> None:
    """The owner of the account would get the bill for a line that was meant for somebody else's."""
    chooser = Chooser(specs, Rules(slugs=("other", "another")))
    if left is not None:
        assert chooser.choose(line(model)) == Choice(0, left, left)
        return
    with pytest.raises(Misrouted) as refusal:
        chooser.choose(line(model))
    assert (refusal.value.code, refusal.value.param) == ("virtual_key_conflict", "body.model")
    assert "slug-0" in refusal.value.message
    assert "other/" not in refusal.value.message


@pytest.mark.parametrize(
    ("provider", "model", "left"),
    [
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "openai/openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openai", "anthropic/claude-x", "anthropic/claude-x"),
        ("openai", "openai/", "openai/"),
        ("openai", "openai", "openai"),
        ("openai", "maker/openai/x", "maker/openai/x"),
        ("openai", "openaiish/gpt", "openaiish/gpt"),
        ("openai", "openai/house-model", "openai/house-model"),  # in the allow-list of the account
        ("anthropic", "anthropic/claude-x", "claude-x"),
        ("anthropic", "@own/anthropic/claude-x", "claude-x"),
    ],
)
@pytest.mark.parametrize("rules", [Rules(slugs=("own",)), Rules(rule=ByLine(), names=Names({"own": 0}))])
def test_the_prefix_of_the_targets_own_provider_is_cut_off(provider: str, model: str, left: str, rules: Rules) -> None:
    spec = TargetSpec(slug="own", provider=provider, models=("openai/house-*", "gpt*"))
    if rules.rule is not None and not model.startswith("@"):
        model = f"@own/{model}"
    assert Chooser([spec], rules).choose(line(model)).model == left


def test_the_prefix_of_a_routes_own_model_is_cut_off() -> None:
    spec = TargetSpec(slug="own", provider="openai", model="openai/gpt-4o")
    assert Chooser([spec], Rules()).choose(line("whatever")) == Choice(0, "gpt-4o", "openai/gpt-4o")


NAMES = Names(
    slugs={"one": 0, "two": 1},
    closed={"old": "virtual_key_retired"},
    models={
        "fast": Name((Option(2, "tiny"),)),
        "pair": Name((Option(3, "p", 7.0), Option(4, "q", 3.0))),
        "house/*": Name((Option(5, "*"),)),
        "house/special-*": Name((Option(6, "s-*"),)),
        "a*b*": Name((Option(7, "*+*"),)),
        "slow": Name(closed="no_batch_lane", provider="ollama"),
        "secret": Name(closed="model_not_allowed"),
        "@cf/meta": Name((Option(0, "llama"),)),
    },
)
BY_LINE = Rules(rule=ByLine(), names=NAMES)


@pytest.mark.parametrize(
    ("model", "target", "at_provider"),
    [
        ("@one/gpt", 0, "gpt"),
        ("@two/maker/gpt", 1, "maker/gpt"),
        ("fast", 2, "tiny"),
        ("house/gpt-4o", 5, "gpt-4o"),
        ("house/special-x", 6, "s-x"),
        ("axbyz", 7, "x+yz"),
        ("@cf/meta", 0, "llama"),
    ],
)
def test_lines_name_their_target(model: str, target: int, at_provider: str) -> None:
    [choice] = choices(BY_LINE, [line(model)])
    assert (choice.target, choice.model) == (target, at_provider)


@pytest.mark.parametrize(
    ("model", "code", "provider"),
    [
        ("@nobody/gpt", "invalid_virtual_key", ""),
        ("@/gpt", "invalid_virtual_key", ""),
        ("@one", "model_not_found", ""),
        ("@one/", "model_not_found", ""),
        ("@old/gpt", "virtual_key_retired", ""),
        ("gpt", "model_not_found", ""),
        ("house", "model_not_found", ""),
        ("@hf/x", "model_not_found", ""),
        ("slow", "no_batch_lane", "ollama"),
        ("secret", "model_not_allowed", ""),
    ],
)
def test_lines_that_name_no_target_say_why_and_are_not_quoted(model: str, code: str, provider: str) -> None:
    chooser = Chooser(SPECS, BY_LINE)
    for _ in range(2):
        with pytest.raises(Misrouted) as refusal:
            chooser.choose(line(model))
        assert (refusal.value.code, refusal.value.provider, refusal.value.param) == (code, provider, "body.model")
        assert "nobody" not in refusal.value.message


@pytest.mark.parametrize(
    ("model", "target", "at_provider"),
    [
        ("@one/gpt", 0, "gpt"),
        ("fast", 2, "tiny"),
        ("house/gpt-4o", 5, "gpt-4o"),
        ("gpt", 6, "gpt"),
        ("maker/gpt", 6, "maker/gpt"),
        ("house", 6, "house"),
        ("@hf/x", 6, "@hf/x"),
        ("@nobody/gpt", None, "invalid_virtual_key"),
        ("@one", None, "model_not_found"),
        ("@old/gpt", None, "virtual_key_retired"),
        ("slow", None, "no_batch_lane"),
        ("secret", None, "model_not_allowed"),
    ],
)
def test_what_no_line_places_goes_where_the_default_says(model: str, target: int | None, at_provider: str) -> None:
    """A line that names an account, or a name of the list, is not the default's business, usable or not."""
    chooser = Chooser(SPECS, Rules(rule=ByLine(otherwise=To(6)), names=NAMES))
    for _ in range(2):
        if target is not None:
            choice = chooser.choose(line(model))
            assert (choice.target, choice.model) == (target, at_provider)
            continue
        with pytest.raises(Misrouted) as refusal:
            chooser.choose(line(model))
        assert refusal.value.code == at_provider


def test_a_default_may_share_lines_out() -> None:
    rules = Rules(rule=ByLine(otherwise=Share((3.0, 1.0), (To(0), To(1)))), names=Names())
    shares = Counter(choice.target for choice in choices(rules, [line()] * 8_000))
    assert abs(shares[0] - 6_000) <= 20
    read = decode_route(encode_route(Route((StoredTarget("a", "toy"),), rules=rules)))
    assert (read.rules, read.is_open) == (rules, True)


def test_accounts_behind_one_name_share_its_lines_whatever_comes_between() -> None:
    lines = [line("pair") if n % 2 else line(f"@one/m{n}") for n in range(40_000)]
    found = choices(BY_LINE, lines)
    shares = Counter(choice.model for choice in found if choice.asked == "pair")
    assert abs(shares["p"] - 14_000) <= 20
    assert choices(BY_LINE, lines) == found


def test_a_rule_adds_to_whatever_target_a_line_names() -> None:
    changes = Changes(remove=("user",))
    rules = Rules(rule=ByLine(model="@two/m", drop_params=True, strict=True, changes=changes), names=NAMES)
    chooser = Chooser(SPECS, rules)
    choice = chooser.choose(line("fast"))
    spec = chooser.spec(choice)
    assert (choice.target, choice.model) == (1, "m")
    assert (spec.slug, spec.drop_params, spec.strict, spec.changes) == ("slug-1", True, True, changes)


@pytest.mark.parametrize(
    ("models", "asked", "admitted"),
    [
        (None, "@one/gpt", True),
        (("gpt",), "@one/gpt", True),
        (("g*",), "@one/gpt", True),
        (("@slug-0/*",), "@one/gpt", True),
        (("@slug-1/*",), "@one/gpt", False),
        (("fast",), "fast", True),
        (("tiny",), "fast", True),
        (("fast",), "@one/gpt", False),
        (("a[1]",), "@one/a[1]", True),
    ],
)
def test_a_callers_models(models: tuple[str, ...] | None, asked: str, admitted: bool) -> None:
    chooser = Chooser(SPECS, msgspec.structs.replace(BY_LINE, models=models))
    assert chooser.admits(chooser.choose(line(asked))) is admitted


def test_a_stored_route_comes_back_as_it_was() -> None:
    changes = Changes({"seed": msgspec.Raw(b"12345678901234567890123")}, {}, ("a.b",))
    route = Route(
        (StoredTarget("a", "toy", "m", True, 1, 2, 3, ("x*",), True, changes), StoredTarget("b", "toy2")),
        True,
        "wait",
        msgspec.structs.replace(BY_LINE, slugs=("c",), models=("*",), metadata={"é": "1"}),
    )
    assert decode_route(encode_route(route)) == route
    assert route.provider is None
    assert route.providers == {"toy", "toy2"}
    assert own_target(encode_route(route)) is None
