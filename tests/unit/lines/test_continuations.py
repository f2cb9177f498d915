"""Where lines go on that fail: in the order of the config, numbered the same in every worker, and never for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.choose import Chooser, TargetSpec
from proxy_plugin.lines.choosing.choice import Choice, Misrouted
from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.routing.reach import attempts
from proxy_plugin.routing.route import (
    ByLine,
    Case,
    Fallback,
    Name,
    Names,
    Option,
    Rescue,
    Route,
    Rule,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
)
from tests.support.rules import RULES, SPECS, WEIGHTS, line

CALLED = [msgspec.structs.replace(spec, direct="allowed") for spec in SPECS]
ABC = Fallback((To(0), To(1), To(2)))


def chooser(rule: Rule, specs: Sequence[TargetSpec] = SPECS, rescue: Rescue | None = None, **rules: Any) -> Chooser:
    return Chooser(specs, Rules(rule=rule, **rules), rescue)


def chain(made: Chooser, one: Envelope, status: int | None = None, most: int = 100) -> Iterator[Choice]:
    """Yield where a line goes that fails everywhere with a status."""
    choice = made.choose(one)
    yield choice
    for _ in range(most):
        further = made.goes_on(choice.then, status)
        if further is None:
            return
        choice = further.pick(one)
        yield choice


def reached(made: Chooser, status: int | None = None, most: int = 100) -> list[int]:
    return [choice.target for choice in chain(made, line(), status, most)]


def test_without_a_fallback_nothing_goes_on() -> None:
    made = chooser(Share((1.0, 1.0), (To(0), To(1))))
    assert (made.choose(line()).then, made.continuations) == (None, [])


def test_lines_go_on_in_the_order_of_the_config() -> None:
    assert reached(chooser(ABC)) == [0, 1, 2]
    assert reached(chooser(Fallback((Fallback((To(0), To(1))), To(2))))) == [0, 1, 2]
    assert reached(chooser(Fallback((To(0), Fallback((To(1), To(2))), To(3))))) == [0, 1, 2, 3]


def test_a_status_that_the_inner_fallback_does_not_know_goes_to_the_outer_one() -> None:
    inner = Fallback((To(0), To(1)), (429,))
    made = chooser(Fallback((inner, To(2)), (429, 500)))
    assert reached(made, 429) == [0, 1, 2]
    assert reached(made, 500) == [0, 2]
    assert reached(made, 400) == [0]
    assert reached(made, None) == [0, 1, 2], "a line without an answer always goes on"


def test_a_fallback_without_codes_has_those_of_the_route() -> None:
    made = chooser(Fallback((To(0), Fallback((To(1), To(2)), (500,)))), rescue=Rescue(codes=(429,)))
    assert reached(made, 429, 5) == [0, 1]
    assert reached(made, 500) == [0]


def test_a_route_with_rescue_asks_the_last_target_again() -> None:
    made = chooser(Fallback((To(0), To(1))), rescue=Rescue())
    assert reached(made, 500, 4) == [0, 1, 1, 1, 1]
    assert reached(made, 400) == [0, 1], "what the line itself is refused for is not asked again"
    further = made.goes_on(list(chain(made, line(), 500, 1))[-1].then, None)
    assert further is not None
    assert (further.again, further.way) == (True, None)


def test_a_target_that_may_be_called_is_called_after_its_job() -> None:
    made = chooser(To(3), CALLED)
    first, second = list(chain(made, line(), 500, 1))
    assert (first.way, made.spec(first).way) == (None, "native")
    assert (second.target, second.way, made.spec(second).way) == (3, DIRECT, "direct")
    assert made.spec(second).max_lines == 5_000
    assert made.spec(second._replace(target=3)).max_bytes is None


def test_with_a_target_behind_it_one_that_may_be_called_tells_how() -> None:
    """Lines that no job of it can have are called; those that failed there go on."""
    made = chooser(ABC, CALLED[:1] + SPECS[1:])
    first = made.choose(line())
    further = made.goes_on(first.then, None)
    assert further is not None
    assert further.itself is not None
    assert (further.pick(line()).target, further.again) == (1, False)
    itself = further.itself(line())
    assert (itself.target, itself.way) == (0, DIRECT)
    assert [choice.target for choice in chain(made, line())] == [0, 1, 2]
    behind = made.goes_on(itself.then, None)
    assert behind is not None
    assert behind.pick(line()).target == 1


def test_a_target_is_called_only_where_it_may_be() -> None:
    never = msgspec.structs.replace(SPECS[0], direct="never")
    made = chooser(ByLine(direct="always"), [never, SPECS[1]], names=Names({"slug-0": 0, "slug-1": 1}))
    assert made.spec(made.choose(line("@slug-0/x"))).way == "native"
    assert made.spec(made.choose(line("@slug-0/x"))._replace(way=DIRECT)).way == "native"
    assert made.spec(made.choose(line("@slug-1/x"))).way == "direct"


def test_lines_that_name_an_account_that_may_be_called_go_on_apart() -> None:
    names = Names({"slug-0": 0, "slug-1": 1})
    made = chooser(ByLine(), [SPECS[0], CALLED[1]], names=names)
    assert made.choose(line("@slug-0/x")).then is None
    first, second = list(chain(made, line("@slug-1/x"), 500, 1))
    assert (first.target, second.target, first.way, second.way) == (1, 1, None, DIRECT)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("@old/x", "virtual_key_retired"),
        ("@nobody/x", "invalid_virtual_key"),
        ("what", "model_not_found"),
        ("slow", "no_batch_lane"),
    ],
)
def test_a_line_whose_account_cannot_be_used_goes_on(model: str, code: str) -> None:
    names = Names({"slug-0": 0}, {"old": "virtual_key_retired"}, {"slow": Name(closed="no_batch_lane")})
    made = chooser(Fallback((ByLine(), To(1))), names=names)
    with pytest.raises(Misrouted) as refusal:
        made.choose(line(model))
    further = made.goes_on(refusal.value.then, None)
    assert further is not None
    assert (refusal.value.code, further.pick(line(model)).target) == (code, 1)


def test_a_line_that_meets_no_condition_goes_on() -> None:
    made = chooser(Fallback((When((Case({"params.n": 1}, 0),), (To(0),)), To(1))))
    with pytest.raises(Misrouted) as refusal:
        made.choose(line(n=2))
    further = made.goes_on(refusal.value.then, None)
    assert further is not None
    assert further.pick(line(n=2)).target == 1


def test_a_line_that_names_another_account_than_all_go_to_does_not_go_on() -> None:
    one = [TargetSpec(slug="slug-0", provider="toy"), TargetSpec(slug="slug-0", provider="toy", model="wool")]
    made = chooser(Fallback((To(0), To(1))), one, slugs=("other",))
    with pytest.raises(Misrouted) as refusal:
        made.choose(line("@other/x"))
    assert (refusal.value.code, refusal.value.then) == ("virtual_key_conflict", None)


def test_turns_of_failed_lines_do_not_change_those_of_others() -> None:
    names = Names(models={"pair": Name((Option(0, "p"), Option(1, "q")))})
    with_it, without = (
        chooser(rule, names=names, rescue=rescue) for rule, rescue in ((ByLine(), Rescue()), (ByLine(), None))
    )
    found = []
    for _ in range(20):
        choice = with_it.choose(line("pair"))
        found.append(choice.target)
        further = with_it.goes_on(choice.then, 500)
        assert further is not None
        further.pick(line("pair"))
    assert found == [without.choose(line("pair")).target for _ in range(20)]


@pytest.mark.parametrize(
    ("rule", "called", "rescue", "most"),
    [
        (To(0), False, Rescue(), 1),
        (ABC, False, None, 2),
        (ABC, False, Rescue(7), 7),
        (ABC, True, None, 3),
        (Fallback((Fallback((To(0), To(1))), To(2), Fallback((To(3), To(4))))), False, None, 4),
        (Share((1.0, 1.0), (To(0), ABC)), False, None, 2),
        (ByLine(otherwise=ABC), False, None, 2),
        (ByLine(direct="allowed"), False, None, 1),
    ],
)
def test_attempts_are_as_many_as_further_targets(rule: Rule, called: bool, rescue: Rescue | None, most: int) -> None:
    target = StoredTarget("a", "toy", direct="allowed" if called else msgspec.UNSET)
    route = Route((target,) * 5, rules=Rules(rule=rule), rescue=rescue or msgspec.UNSET)
    assert attempts(route) == most


TREES = st.recursive(
    st.integers(0, 7).map(To),
    lambda inner: st.one_of(
        st.lists(st.tuples(WEIGHTS, inner), min_size=1, max_size=3).map(
            lambda pairs: Share(tuple(float(weight) for weight, _ in pairs), tuple(rule for _, rule in pairs))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda rules: When((Case({"params.n": {"$lt": 20}}, 0),), tuple(rules), len(rules) - 1)
        ),
        st.tuples(
            st.lists(inner, min_size=2, max_size=3), st.lists(st.sampled_from([400, 429, 500]), max_size=2, unique=True)
        ).map(lambda pair: Fallback(tuple(pair[0]), tuple(pair[1]))),
    ),
    max_leaves=10,
)


def leaves(rule: Rule) -> int:
    return 1 if isinstance(rule, To | ByLine) else sum(map(leaves, rule.rules))


@given(
    TREES,
    st.sets(st.integers(0, 7)),
    st.sampled_from([None, Rescue(), Rescue(codes=(429, 500))]),
    st.lists(st.integers(0, 60), max_size=20),
    st.sampled_from([None, 400, 429, 500]),
)
def test_every_chain_ends_and_a_later_worker_finds_the_same(
    rule: Rule, called: set[int], rescue: Rescue | None, numbers: list[int], status: int | None
) -> None:
    specs = [CALLED[n] if n in called else SPECS[n] for n in range(8)]
    one, other = chooser(rule, specs, rescue), chooser(rule, specs, rescue)
    for n in numbers:
        first, second = (list(chain(each, line(n=n), status, 64)) for each in (one, other))
        assert first == second
        again = [at for at in range(1, len(first)) if first[at].then == first[at - 1].then is not None]
        ended = first[: again[0]] if again else first
        assert len(ended) <= leaves(rule)
        assert len({choice.then for choice in first}) <= leaves(rule), "the last one alone is asked again"
        if rescue is None and not called:
            assert not again
            assert len(first) <= attempts(Route((StoredTarget("a", "toy"),) * 8, rules=Rules(rule=rule))) + 1
    assert len(one.continuations) <= 3 * leaves(rule)


def asked(rule: Rule, n: int, status: int | None) -> list[int]:
    """Return whom Portkey's gateway asks for a request that fails everywhere with a status."""
    match rule:
        case To(target):
            return [target]
        case When():
            return asked(rule.rules[0 if n < 20 else -1], n, status)
        case Fallback(rules, codes):
            goes_on = status is None or not codes or status in codes
            return [target for each in (rules if goes_on else rules[:1]) for target in asked(each, n, status)]
    raise AssertionError("the tree has turns")


def takes_turns(rule: Rule) -> bool:
    return isinstance(rule, Share) or (not isinstance(rule, To | ByLine) and any(map(takes_turns, rule.rules)))


@given(TREES.filter(lambda rule: not takes_turns(rule)), st.integers(0, 60), st.sampled_from([None, 400, 429, 500]))
def test_lines_go_on_as_requests_do_at_portkey(rule: Rule, n: int, status: int | None) -> None:
    assert [choice.target for choice in chain(chooser(rule), line(n=n), status)] == asked(rule, n, status)


@given(RULES, st.lists(st.integers(0, 60), max_size=40))
def test_what_stands_behind_changes_nothing_of_the_first_choices(rule: Rule, numbers: list[int]) -> None:
    lines = [line(n=n) for n in numbers]
    made, alone = chooser(Fallback((rule, To(7), To(6)))), chooser(rule)
    found = [made.choose(each) for each in lines]
    assert [choice._replace(then=None) for choice in found] == [alone.choose(each) for each in lines]
    assert all(choice.then == 1 for choice in found)
