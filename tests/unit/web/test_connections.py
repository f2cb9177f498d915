"""The books of connections: who is late, who goes when room is short, and what half heads may hold together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.web.connections import GRACE_SECONDS, HALF_HEADS_BYTES, Books, Phase

PATIENCE = {Phase.FRESH: 15.0, Phase.HEAD: 15.0, Phase.IDLE: 75.0, Phase.CLOSING: 5.0}


class Timer:
    """A loop whose time the test sets; its timers are never due."""

    def __init__(self) -> None:
        self.at = 0.0

    def time(self) -> float:
        return self.at

    def call_later(self, *_: Any) -> object:
        return object()


class Client:
    """One connection, which notes what is done to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.phase: Phase | None = None
        self.half = 0
        self.done: list[object] = []

    def late(self, phase: Phase) -> None:
        self.done.append(phase)

    def drop(self) -> None:
        self.done.append("dropped")


class Town:
    """Books, their time, and clients by name."""

    def __init__(self, most: int = 100) -> None:
        self.timer = Timer()
        self.books = Books(most, PATIENCE, cast("asyncio.AbstractEventLoop", self.timer))
        self.clients: dict[str, Client] = {}

    def enter(self, *phases: tuple[str, Phase]) -> None:
        """Let clients enter one after the other, more than a moment apart, each in its phase."""
        for name, phase in phases:
            self.timer.at += GRACE_SECONDS + 0.5
            client = self.clients[name] = Client(name)
            self.books.enter(client)
            if client.phase is not None and phase is not Phase.FRESH:
                self.books.move(client, phase)

    def gone(self) -> list[str]:
        return [name for name, client in self.clients.items() if client.done]


@pytest.mark.parametrize("phase", PATIENCE)
def test_who_is_late_is_told_so_and_nobody_before(phase: Phase) -> None:
    town = Town()
    town.enter(("early", phase), ("late", phase), ("busy", Phase.BUSY))
    town.timer.at = GRACE_SECONDS + 0.5 + PATIENCE[phase]
    town.books.sweep()
    assert town.gone() == ["early"]
    assert town.clients["early"].done == [phase]


def test_a_head_that_comes_byte_by_byte_gets_no_more_time() -> None:
    town = Town()
    town.enter(("slow", Phase.HEAD))
    for _ in range(16):
        town.timer.at += 1
        town.books.holds(town.clients["slow"], town.clients["slow"].half + 1)
        town.books.sweep()
    assert town.clients["slow"].done[0] is Phase.HEAD


F, H, D, C, B = Phase.FRESH, Phase.HEAD, Phase.IDLE, Phase.CLOSING, Phase.BUSY


@pytest.mark.parametrize(
    ("open_already", "goes"),
    [
        ([F, F, F], 0),
        ([H, F, F], 0),
        ([F, H, H], 0),
        ([D, F, H], 1),
        ([D, D, H], 2),
        ([D, D, D], 0),
        ([B, D, D], 1),
        ([B, B, F], 2),
        ([F, H, C], 2),
        ([D, C, C], 1),
        ([B, B, B], 3),
        ([B, B, D], 2),
    ],
)
def test_the_oldest_silent_one_makes_room_for_the_next(open_already: list[Phase], goes: int) -> None:
    town = Town(most=3)
    town.enter(*[(str(n), phase) for n, phase in enumerate(open_already)], ("3", F))
    assert town.gone() == [str(goes)]
    assert len(town.books) == 3


@pytest.mark.parametrize(
    ("open_already", "goes"), [([D, D, F], 0), ([D, D, H], 0), ([B, F, F], 1), ([C, D, F], 0), ([B, B, F], 2)]
)
def test_for_a_moment_a_new_one_is_taken_for_one_that_is_about_to_ask(open_already: list[Phase], goes: int) -> None:
    town = Town(most=3)
    town.enter(*[(str(n), phase) for n, phase in enumerate(open_already)])
    town.timer.at -= 1
    town.enter(("3", F))
    assert town.gone() == [str(goes)]


@given(st.lists(st.tuples(st.sampled_from(list(Phase)), st.integers(0, HALF_HEADS_BYTES // 4)), max_size=60))
def test_bounds_hold_whatever_connections_do(moves: list[tuple[Phase, int]]) -> None:
    town = Town(most=8)
    for n, (phase, half) in enumerate(moves):
        town.enter((str(n), phase))
        if town.clients[str(n)].phase is not None:
            town.books.holds(town.clients[str(n)], half)
        held = [client for client in town.clients.values() if client.phase is not None]
        assert len(held) == len(town.books) <= 8
        heads = sum(client.half for client in held if client.phase is H)
        assert heads <= HALF_HEADS_BYTES
        assert all(client.half == 0 for client in town.clients.values() if client.phase is None)


def test_half_heads_share_a_bound_and_the_oldest_goes() -> None:
    town = Town()
    town.enter(("first", H), ("second", H), ("idle", D), ("third", H))
    for name in ("first", "second", "third"):
        town.books.holds(town.clients[name], HALF_HEADS_BYTES // 3)
    assert town.gone() == []
    town.books.holds(town.clients["third"], HALF_HEADS_BYTES // 2)
    assert town.gone() == ["first"]
