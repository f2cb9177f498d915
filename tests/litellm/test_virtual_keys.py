"""Virtual keys in front: who they are is asked of a LiteLLM with a database, which is stood in for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import litellm
import pytest
from openai import AuthenticationError, NotFoundError, OpenAI
from portkey_ai import Portkey

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.litellm import rig
from tests.litellm.rig import SLUG
from tests.support import litellm_keys
from tests.support.waiting import until

Rows = dict[str, dict[str, Any]]
RED, BLUE = "sk-virtual-key-of-team-red", "sk-virtual-key-of-team-blue"
KEYS: Rows = {
    RED: {"key_alias": "red-ci", "team_id": "id-red", "models": ["all-team-models"]},
    BLUE: {"key_alias": "blue-ci", "team_id": "id-blue"},
}
TEAMS: Rows = {"id-red": {"team_alias": "red", "models": ["gpt-4.1-nano"]}, "id-blue": {"team_alias": "blue"}}
ENDS = {"completed", "failed", "expired", "cancelled"}
ASKED: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[litellm_keys.LiteLLM]:
    it, ready, ended = litellm_keys.LiteLLM(keys=KEYS, teams=TEAMS), threading.Event(), threading.Event()

    async def serve() -> None:
        async with litellm_keys.litellm(it):
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield it
    ended.set()
    thread.join(10)


@pytest.fixture(scope="module")
def url(base: Path, sandbox: Sandbox, upstream: litellm_keys.LiteLLM) -> Iterator[str]:
    home = base / "virtual"
    home.mkdir()
    said = {"teams": {"red": {"workspace": "red", "virtual_keys": [SLUG]}}}
    more = {"proxy_plugin": {"auth": "litellm", "litellm_keys": said}}
    behind = f"http://127.0.0.1:{upstream.port}"
    path = rig.config(home, sandbox.url(), "http://127.0.0.1:9/v1", upstream=behind, more=more)
    ours = rig.gateway(home, path).start()
    yield ours.url
    ours.stop()


@dataclass
class Client:
    """One of the clients that people have, with one key."""

    upload: Any
    create: Any
    retrieve: Any
    who: Any


def clients(url: str) -> Iterator[Client]:
    base, headers = f"{url}/v1", {"x-portkey-virtual-key": SLUG}
    for each in (
        OpenAI(base_url=base, api_key=RED, default_headers=headers, max_retries=0),
        Portkey(base_url=base, api_key=RED, virtual_key=SLUG),
    ):
        chat = each.chat.completions.create
        yield Client(each.files.create, each.batches.create, each.batches.retrieve, chat)


def test_one_virtual_key_serves_both_sides(url: str) -> None:
    for client in clients(url):
        assert "red-ci" in str(client.who(model="mock", messages=ASKED)), "the upstream has the same key"
        upload = client.upload(file=("in.jsonl", rig.lines()), purpose="batch")
        batch = client.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
        ended = until(partial(_ended_of, client, batch.id), "the end of the batch")
        assert (ended.status, ended.request_counts.completed) == ("completed", 3)
    theirs: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": RED, "custom_llm_provider": "openai"}
    theirs["extra_headers"] = {"x-portkey-virtual-key": SLUG}
    upload = litellm.create_file(file=("in.jsonl", rig.lines()), purpose="batch", **theirs)
    assert litellm.file_retrieve(upload.id, **theirs).id == upload.id


def test_teams_do_not_see_each_other_and_nobody_else_gets_in(url: str) -> None:
    red, blue, nobody = (OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) for key in (RED, BLUE, "sk-no"))
    upload = red.files.create(file=("in.jsonl", rig.lines()), purpose="batch")
    assert red.files.retrieve(upload.id).id == upload.id
    with pytest.raises(NotFoundError):
        blue.files.retrieve(upload.id)
    with pytest.raises(AuthenticationError):
        nobody.files.retrieve(upload.id)


def test_the_models_of_a_team_bound_its_batches(url: str) -> None:
    red = OpenAI(base_url=f"{url}/v1", api_key=RED, default_headers={"x-portkey-virtual-key": SLUG}, max_retries=0)
    other = rig.lines(1).replace(b"gpt-4.1-nano", b"gpt-4.1-mini")
    upload = red.files.create(file=("in.jsonl", other), purpose="batch")
    batch = red.batches.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
    ended = until(lambda: _ended(red.batches.retrieve(batch.id)), "the end of the batch")
    assert ended.request_counts is None or ended.request_counts.completed == 0


def _ended_of(client: Client, batch_id: str) -> Any:
    return _ended(client.retrieve(batch_id))


def _ended(batch: Any) -> Any:
    return batch if batch.status in ENDS else None
