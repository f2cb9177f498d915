"""How many plans one workspace may have at a time, and whose turn it is."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from proxy_plugin.api.batches.plan import Plans
from proxy_plugin.ground.errors import TooManyRequests
from proxy_plugin.ground.workers import Workers


@pytest.fixture
async def plans() -> Plans:
    return Plans(Workers(1), 3)


async def test_plans_of_one_workspace_are_bounded_and_others_are_not_touched(plans: Plans) -> None:
    with ExitStack() as stack:
        for workspace in ("a", "a", "b", "a", "b"):
            stack.enter_context(plans.counted(workspace))
        with pytest.raises(TooManyRequests) as refusal, plans.counted("a"):
            pass
        assert refusal.value.headers() == {"Retry-After": "5"}
        assert "limits.max_plans" in refusal.value.message
        stack.enter_context(plans.counted("b"))
        with pytest.raises(TooManyRequests), plans.counted("b"):
            pass
    with plans.counted("a"):
        pass


async def test_workspaces_take_turns_at_plans(plans: Plans) -> None:
    order = list[str]()

    async def make(workspace: str) -> None:
        async with plans.turn(workspace):
            order.append(workspace)

    async with plans.turn("busy"):
        tasks = [asyncio.create_task(make(each)) for each in "aaaab"]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == list("abaaa")


async def test_a_plan_that_goes_away_takes_no_turn_with_it(plans: Plans) -> None:
    async def make() -> None:
        async with plans.turn("a"):
            raise ConnectionResetError

    async with plans.turn("busy"):
        tasks = [asyncio.create_task(make()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found].count(ConnectionResetError) == 3
    async with asyncio.timeout(60), plans.turn("b"):
        pass
