"""Turns: whoever has many things to do waits for those that have few."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.ground.turns import Places, RoundRobin, Slots, Turns
from tests.support.waiting import eventually

QUEUES = [
    ("aaaa", "aaaa"),
    ("aaab", "abaa"),
    ("aaabb", "ababa"),
    ("abc", "abc"),
    ("aabbcc", "abcabc"),
    ("aaaabc", "abcaaa"),
    ("ba", "ba"),
    ("aaaaaaaab", "abaaaaaaa"),
    ("", ""),
]


@pytest.mark.parametrize(("came", "served"), QUEUES)
def test_each_workspace_is_served_in_turn(came: str, served: str) -> None:
    queue = RoundRobin[tuple[str, int]]()
    for n, workspace in enumerate(came):
        queue.push(workspace, (workspace, n))
    taken = [queue.pop() for _ in came]
    assert "".join(workspace for workspace, _ in taken) == served
    for workspace in set(came):
        own = [n for each, n in taken if each == workspace]
        assert own == sorted(own), "not in the order of coming"
    assert not queue


@pytest.mark.parametrize(("came", "served"), QUEUES)
async def test_who_waits_for_a_turn_gets_it_in_turn(came: str, served: str) -> None:
    turns, order = Turns(1), list[str]()

    async def work(workspace: str) -> None:
        async with turns.turn(workspace):
            order.append(workspace)

    async with turns.turn("busy"):
        tasks = [asyncio.create_task(work(each)) for each in came]
        await asyncio.sleep(0)
        assert not turns.idle
    await asyncio.gather(*tasks)
    assert "".join(order) == served
    assert turns.idle


async def test_no_turn_is_lost_with_those_that_go_away() -> None:
    turns, had = Turns(2), list[int]()

    async def work(n: int) -> None:
        async with turns.turn("ab"[n % 2]):
            had.append(n)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(n)) for n in range(40)]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0)
        if n % 3 == 0:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await eventually(lambda: turns.idle)
    assert {n for n in range(40) if n % 3} <= set(had)


async def test_a_turn_that_comes_as_its_owner_goes_is_another_one_s() -> None:
    turns, had = Turns(1), list[str]()

    async def work(workspace: str) -> None:
        async with turns.turn(workspace):
            had.append(workspace)

    async with turns.turn("busy"):
        gone, stays = asyncio.create_task(work("a")), asyncio.create_task(work("b"))
        await asyncio.sleep(0)
    gone.cancel()  # it has been called and has not run since
    await asyncio.gather(gone, stays, return_exceptions=True)
    assert (had, turns.idle) == (["b"], True)


def test_a_place_is_kept_for_who_is_called() -> None:
    places = Places[str](2)
    assert [places.take("a", each) for each in ("a1", "a2", "a3", "a4")] == [True, True, False, False]
    assert not places.take("b", "b1")
    assert not places.take("a", "a3"), "to ask again is no way forward"
    assert places.leave("a1") == "a3"
    assert places.has("a3")
    assert not places.take("c", "c1"), "nobody takes a place that is kept"
    assert places.take("a", "a3")
    assert [places.leave(each) for each in ("a2", "a3", "b1", "a4", "c1")] == ["b1", "a4", "c1", None, None]
    assert places.take("a", "a5")


CROWDS = [  # who wants how much, and how many of 128 slots each gets
    ({"a": 500}, {"a": 96}),
    ({"a": 500, "b": 500}, {"a": 54, "b": 55}),
    ({"a": 500, "b": 1}, {"a": 96, "b": 1}),
    ({"a": 500, "b": 3, "c": 3}, {"a": 92, "b": 3, "c": 3}),
    ({"a": 10, "b": 10}, {"a": 10, "b": 10}),
    ({"a": 0, "b": 200}, {"b": 96}),
    ({}, {}),
    ({str(n): 1 for n in range(300)}, {str(n): 1 for n in range(128)}),
]


@pytest.mark.parametrize(("wants", "got"), CROWDS)
def test_slots_are_shared(wants: dict[str, int], got: dict[str, int]) -> None:
    slots = Slots[tuple[str, int]](128)
    begun = Counter(name for name, _ in slots.fill({name: items(name, count) for name, count in wants.items()}))
    assert sum(begun.values()) == len(slots)
    assert begun.keys() >= {name for name, count in wants.items() if count} or len(slots) == 128
    if len(wants) < 128:
        assert all(abs(begun[name] - count) <= 2 for name, count in got.items())


def items(name: str, count: int) -> Sequence[tuple[str, int]]:
    return [(name, n) for n in range(count)]


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), max_size=6), max_size=12), st.data())
def test_whoever_comes_finds_a_slot(crowds: list[dict[str, int]], data: st.DataObject) -> None:
    slots, number, here = Slots[tuple[str, int]](40), 0, list[tuple[str, int]]()
    for crowd in crowds:
        wanted = {name: [(name, number + n) for n in range(count)] for name, count in crowd.items()}
        number += 60
        here += slots.fill(wanted)
        assert len(slots) == len(here) <= 40
        free = slots.free
        if free:
            [come] = slots.fill({"new": [("new", number)]})
            slots.end(come)
        for _ in range(data.draw(st.integers(0, len(here)))):
            slots.end(here.pop())
    for each in here:
        slots.end(each)
    assert (len(slots), slots.of("a"), slots.free) == (0, 0, 40)


def test_equals_take_turns() -> None:
    slots, order = Slots[tuple[str, int]](1), list[str]()
    waiting = {name: list(items(name, 3)) for name in "abc"}
    while any(waiting.values()):
        [begun] = slots.fill(waiting)
        waiting[begun[0]].remove(begun)
        order.append(begun[0])
        slots.end(begun)
    assert order == list("abcabcabc")


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 4), st.randoms())
async def test_no_workspace_has_more_turns_than_it_may(came: list[str], count: int, chance: Random) -> None:
    most = max(1, count - 1)
    turns, having, highest = Turns(count, most), Counter[str](), Counter[str]()
    end = asyncio.Event()

    async def work(workspace: str) -> None:
        async with turns.turn(workspace):
            having[workspace] += 1
            highest[workspace] = max(highest[workspace], having[workspace])
            assert having.total() <= count
            await end.wait()
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            having[workspace] -= 1

    tasks = [asyncio.create_task(work(each)) for each in came]
    await asyncio.sleep(0)
    wanted = Counter(came)
    assert having.total() == min(count, sum(min(each, most) for each in wanted.values())), "a turn was left unused"
    end.set()
    await asyncio.gather(*tasks)
    assert all(each <= most for each in highest.values())
    assert turns.idle


async def test_a_workspace_that_is_full_holds_no_other_up() -> None:
    turns = Turns(2, 1)
    async with turns.turn("a"):
        waiting = asyncio.create_task(enter(turns, "a"))
        await asyncio.sleep(0)
        async with asyncio.timeout(60), turns.turn("b"):
            assert not waiting.done()
    await waiting
    assert turns.idle


async def enter(turns: Turns, workspace: str) -> None:
    async with turns.turn(workspace):
        pass


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=30))
def test_who_is_in_turn_begins_something_first(done: list[tuple[str, bool]]) -> None:
    slots, number = Slots[int](100), 0
    for workspace, ends in done:
        for begun in slots.fill({each: [number := number + 1] for each in {workspace, "a"}}):
            if ends:
                slots.end(begun)
    told = slots.in_turn("edcba")
    assert [slots.workspace(item) for item in slots.fill({name: [ord(name) + 1000] for name in "abcde"})] == told
