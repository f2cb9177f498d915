"""Several pieces of work at once."""

from __future__ import annotations

import asyncio

import pytest

from proxy_plugin.engine.tasks import together


async def test_results_come_in_the_order_of_the_works() -> None:
    turn = asyncio.Event()

    async def waits() -> str:
        await turn.wait()
        return "first"

    async def wakes() -> str:
        turn.set()
        return "second"

    assert await together([waits(), wakes()]) == ["first", "second"]


async def test_the_first_failure_ends_the_others() -> None:
    ended = list[str]()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await together([waits(), fails()])
    assert ended == ["waits"]
