"""Asking LiteLLM, and telling it, over the socket of its process; and what is made of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.access.identity import Identity
from proxy_plugin.config import Config, parse
from proxy_plugin.engine.spend.carrier import SOCKET, Carrier, NobodyThere, NotTaken, is_known
from proxy_plugin.engine.spend.check import purses_of, with_key, with_team
from proxy_plugin.inside import attending

WHO = Identity(name="alice", key_hash="ab12")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse({"proxy_plugin": {"storage": {"data_dir": str(tmp_path)}}}, {})


@asynccontextmanager
async def answering(config: Config, answer: bytes, heard: list[Any]) -> AsyncIterator[Carrier]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(json.loads(await reader.readline()))
        writer.write(answer)
        writer.close()

    carrier = Carrier()
    async with await asyncio.start_unix_server(talk, config.storage.data_dir / SOCKET):
        yield carrier
    await carrier.close()


async def test_a_report_goes_over_the_socket_of_this_machine(config: Config) -> None:
    heard: list[Any] = []
    assert not is_known(config)
    async with answering(config, b'{"counted": true, "kept": false}\n', heard) as carrier:
        assert is_known(config)
        assert await carrier.tell(config, '{"id": "batch_1"}') == {"counted": True, "kept": False}
    async with answering(config, b'{"spend": 1.5}\n', heard) as carrier:
        assert await carrier.key(config, "ab12") == {"spend": 1.5}
        assert await carrier.team(config, "t") == {"spend": 1.5}
    assert heard == [{"report": {"id": "batch_1"}}, {"key": "ab12"}, {"team": "t"}]


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b'{"error": "no database", "again": true}\n', NobodyThere),
        (b'{"error": "the report has no id", "again": false}\n', NotTaken),
        (b"", NobodyThere),
        (b"{\n", NobodyThere),
    ],
)
async def test_what_is_no_answer_is_asked_again(config: Config, answer: bytes, raised: type[Exception]) -> None:
    async with answering(config, answer, []) as carrier:
        with pytest.raises(raised):
            await carrier.tell(config, "{}")


async def test_without_a_litellm_nobody_is_there(config: Config) -> None:
    with pytest.raises(NobodyThere, match="neither LiteLLM's socket nor"):
        await Carrier().tell(config, "{}")


def test_both_ends_call_the_socket_and_the_path_the_same() -> None:
    from proxy_plugin.engine.spend import carrier

    assert (carrier.SOCKET, carrier.PATH) == (attending.SOCKET, attending.PATH)


@pytest.mark.parametrize(
    ("info", "budget"),
    [
        ({"max_budget": 5}, 5.0),
        ({"max_budget": None, "litellm_budget_table": {"max_budget": 7.5}}, 7.5),
        ({"max_budget": 0, "litellm_budget_table": {"max_budget": 7.5}}, 0.0),
        ({"litellm_budget_table": None}, None),
    ],
)
def test_the_limits_of_a_key_are_those_that_litellm_tells(info: dict[str, Any], budget: float | None) -> None:
    found = with_key(WHO, info | {"spend": 2.5, "metadata": {"batch_enqueued_token_limit": 9}})
    [purse] = purses_of(found)
    assert (purse.who, purse.spent, purse.budget, purse.tokens) == ("key alice", 2.5, budget, 9)


def test_a_team_has_limits_of_its_own() -> None:
    found = with_team(
        with_key(WHO, {"team_id": "t-1"}),
        {"spend": 3, "max_budget": 4.0, "team_alias": "Alpha", "metadata": {"batch_enqueued_token_limit": "12"}},
    )
    key, team = purses_of(found)
    assert not key.limited
    assert (team.who, team.spent, team.budget, team.tokens) == ("team Alpha", 3.0, 4.0, 12)
