"""Who calls, as LiteLLM tells: what it is asked, and what the gateway is told."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from proxy_plugin.access.identity import Identity
from proxy_plugin.inside.callers import Scope, head_for_gateway, identity
from proxy_plugin.inside.facts import SocketFacts

OURS, THEIRS = "key-of-the-gateway", "sk-key-of-litellm"
FACTS = SocketFacts("the secret", frozenset({hashlib.sha256(OURS.encode()).hexdigest()}))
HASH = hashlib.sha256(THEIRS.encode()).hexdigest()


def known(**more: Any) -> SimpleNamespace:
    """Return what LiteLLM's `user_api_key_auth` returns, as far as it is read."""
    empty = dict.fromkeys(Identity.__struct_fields__) | dict.fromkeys(
        ("token", "api_key", "user_role", "key_alias", "team_models")
    )
    return SimpleNamespace(**(empty | {"token": HASH} | more))


class LiteLLM:
    """Answers as LiteLLM would, and remembers the question."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[Scope, Mapping[str, str | None]]] = []

    async def __call__(self, scope: Scope, keys: Mapping[str, str | None]) -> Any:
        self.asked.append((scope, keys))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scope(*head: tuple[str, str]) -> Scope:
    headers = [(name.encode(), value.encode()) for name, value in head]
    return {"type": "http", "method": "POST", "path": "/v1/files", "headers": headers}


async def told(litellm: LiteLLM, *head: tuple[str, str]) -> dict[str, str]:
    found = await head_for_gateway(scope(*head), FACTS, litellm)
    assert len(found) == len(dict(found))
    return {name.decode(): value.decode() for name, value in found}


@pytest.mark.parametrize("place", ["x-portkey-api-key", "authorization"])
async def test_nobody_is_asked_about_a_key_of_the_gateways_own(place: str) -> None:
    litellm = LiteLLM(known())
    head = await told(litellm, (place, f"Bearer {OURS}"), ("content-length", "5"))
    assert head == {place: f"Bearer {OURS}", "content-length": "5"}
    assert litellm.asked == []


@pytest.mark.parametrize(
    ("place", "argument"),
    [
        ("authorization", "api_key"),
        ("x-litellm-api-key", "custom_litellm_key_header"),
        ("api-key", "azure_api_key_header"),
        ("x-api-key", "anthropic_api_key_header"),
    ],
)
async def test_litellm_is_asked_without_the_body_and_its_key_goes_no_further(place: str, argument: str) -> None:
    litellm = LiteLLM(known(key_alias="team-key", team_id="t1"))
    sent = (place, f"Bearer {THEIRS}"), ("content-type", "multipart/form-data"), ("x-portkey-virtual-key", "lane")
    head = await told(litellm, *sent)
    ((asked, keys),) = litellm.asked
    assert keys[argument] == f"Bearer {THEIRS}"
    assert not any(value for name, value in keys.items() if name != argument)
    assert [name for name, _ in asked["headers"]] == [place.encode(), b"x-portkey-virtual-key"]
    assert (asked["path"], asked["method"]) == ("/v1/files", "POST")
    assert head.pop("x-proxy-plugin-secret") == "the secret"
    who = msgspec.json.decode(base64.b64decode(head.pop("x-proxy-plugin-identity")), type=Identity)
    assert (who.name, who.team_id, who.key_hash) == ("team-key", "t1", HASH)
    assert head == {"content-type": "multipart/form-data", "x-portkey-virtual-key": "lane"}


async def test_portkeys_header_holds_the_key_and_what_else_is_there_stays_a_providers() -> None:
    litellm = LiteLLM(known())
    sent = ("x-portkey-api-key", THEIRS), ("authorization", "Bearer sk-of-a-provider"), ("x-portkey-provider", "openai")
    head = await told(litellm, *sent)
    ((asked, keys),) = litellm.asked
    assert keys["api_key"] == f"Bearer {THEIRS}"
    assert (b"authorization", f"Bearer {THEIRS}".encode()) in asked["headers"]
    assert head["authorization"] == "Bearer sk-of-a-provider"
    assert "x-portkey-api-key" not in head


async def test_a_key_that_portkeys_sdk_sends_twice_goes_no_further_from_either_place() -> None:
    head = await told(LiteLLM(known()), ("x-portkey-api-key", THEIRS), ("authorization", f"Bearer {THEIRS}"))
    assert head.keys() == {"x-proxy-plugin-secret", "x-proxy-plugin-identity"}


async def test_what_a_client_says_of_itself_is_not_believed() -> None:
    forged = ("x-proxy-plugin-identity", "e30="), ("x-proxy-plugin-secret", "guess"), ("x-portkey-api-key", OURS)
    assert await told(LiteLLM(known()), *forged) == {"x-portkey-api-key": OURS}


async def test_litellms_refusal_is_the_answer() -> None:
    refusal = PermissionError("over budget")
    with pytest.raises(PermissionError, match="over budget"):
        await told(LiteLLM(refusal), ("authorization", f"Bearer {THEIRS}"))


async def test_without_a_database_the_gateway_says_that_a_key_is_unknown() -> None:
    refusal = ValueError("No connected db.")
    refusal.type = "no_db_connection"  # type: ignore[attr-defined]
    sent = ("authorization", f"Bearer {THEIRS}"), ("x-portkey-provider", "openai")
    assert await told(LiteLLM(refusal), *sent) == dict(sent)


def test_an_identity_has_all_that_the_gateway_reads() -> None:
    found = identity(
        known(
            key_alias=None,
            user_id="u",
            models=["gpt-4o", "claude-*"],
            team_models=["gpt-*"],
            spend=1.5,
            max_budget=2.0,
            team_spend=7.0,
            team_max_budget=9.0,
            metadata={"batch_enqueued_token_limit": 5, "other": "kept here"},
            team_metadata={"batch_enqueued_token_limit": 6},
            expires=datetime(2027, 1, 1, tzinfo=UTC),
            user_role=SimpleNamespace(value="proxy_admin"),
        ),
        THEIRS,
    )
    who = msgspec.convert(found, Identity)
    assert found.keys() == set(Identity.__struct_fields__)
    assert who == Identity(
        name=f"litellm-{HASH[:8]}",
        key_hash=HASH,
        user_id="u",
        models=("gpt-4o", "claude-*"),
        within=(("gpt-*",),),
        spend=1.5,
        max_budget=2.0,
        team_spend=7.0,
        team_max_budget=9.0,
        metadata={"batch_enqueued_token_limit": 5},
        team_metadata={"batch_enqueued_token_limit": 6},
        expires="2027-01-01T00:00:00+00:00",
        admin=True,
    )


def test_the_word_for_all_models_of_a_team_is_no_model() -> None:
    found = identity(known(models=["all-team-models"], team_models=["gpt-4o"]), THEIRS)
    assert (found["models"], found["within"]) == ([], [["gpt-4o"]])


def test_a_key_that_litellm_has_no_hash_of_is_named_by_its_own() -> None:
    assert identity(known(token=None, api_key="a-custom-name"), THEIRS)["key_hash"] == HASH
    by_token = identity(known(token=None, user_id="u"), "")
    assert by_token["key_hash"] == identity(known(token=None, user_id="u"), "")["key_hash"] != HASH
