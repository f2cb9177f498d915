"""`auth: litellm`: one key of LiteLLM's for what is ours and for what is passed on, in front of a LiteLLM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy_plugin.access.callers import provider_key
from proxy_plugin.access.identity import Identity
from tests.support.litellm_keys import MASTER, LiteLLM, hashed, litellm
from tests.support.served import FORM, FORM_TYPE, KEY, OTHER_KEY, WHO, Served, running
from tests.support.waiting import eventually

RED, BLUE, LONE = "sk-of-team-red", "sk-of-team-blue", "sk-of-nobodys-team"
Rows = dict[str, dict[str, Any]]
TEAMS: Rows = {"id-red": {"team_alias": "red", "spend": 3.0, "max_budget": 9.0}, "id-blue": {"team_alias": "blue"}}
ROWS: Rows = {
    RED: {"key_alias": "red-ci", "team_id": "id-red", "spend": 1.5, "max_budget": 2.0, "user_id": "u1"},
    BLUE: {"key_alias": "blue-ci", "team_id": "id-blue"},
    LONE: {"key_alias": None},
}
LANES = {
    "red-1": {"provider": "openai", "api_key": "sk-1", "custom_host": "http://127.0.0.1:9/v1", "models": ["gpt-r"]},
    "blue-1": {"provider": "openai", "api_key": "sk-2", "custom_host": "http://127.0.0.1:9/v1", "models": ["gpt-b"]},
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _multi(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(headers)


def portkey(key: str) -> dict[str, str]:
    """Return the headers that Portkey's SDK sends."""
    return {"x-portkey-api-key": key, "Authorization": "Bearer OPENAI_API_KEY"}


@asynccontextmanager
async def fronted(
    tmp_path: Path, it: LiteLLM | None = None, said: Mapping[str, Any] = {}, **sections: Any
) -> AsyncIterator[tuple[Served, LiteLLM]]:
    """Run the gateway in front of a LiteLLM that has three keys; nobody else has one of the gateway's own."""
    it = it or LiteLLM(keys={key: dict(row) for key, row in ROWS.items()}, teams=TEAMS)
    async with litellm(it):
        upstream = {"upstream": f"http://127.0.0.1:{it.port}"}
        common = {"server": upstream, "auth": "litellm", "api_keys": [], "virtual_keys": LANES, "litellm_keys": said}
        async with running(tmp_path, **(common | sections)) as served:
            yield served, it


async def upload(served: Served, headers: Mapping[str, str]) -> str:
    status, stored, _ = await served.call("POST", "/v1/files", FORM % b"{}", {**headers, **FORM_TYPE})
    assert status == 200, stored
    return str(stored["id"])


def _litellms(key: str) -> dict[str, str]:
    return {"x-litellm-api-key": f"Bearer {key}"}


def _azures(key: str) -> dict[str, str]:
    return {"api-key": key}


async def test_one_key_serves_both_sides(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        for sent in (bearer, portkey, _litellms, _azures):
            headers = sent(RED)
            file_id = await upload(served, headers)
            assert (await served.call("GET", f"/v1/files/{file_id}", headers=headers))[0] == 200
            listed = (await served.call("GET", "/v1/batches", headers=headers))[1]
            assert listed["object"] == "list"
        for sent in (bearer, portkey):
            status, answer, _ = await served.call("POST", "/v1/chat/completions", {}, sent(RED))
            assert (status, answer["path"], answer["who"]) == (200, "/v1/chat/completions", "red-ci")
            models = (await served.call("GET", "/v1/models", headers=sent(RED)))[1]
            assert [each["id"] for each in models["data"]] == ["theirs", "@red-1/gpt-r", "@blue-1/gpt-b"]
        assert it.asked.count("/key/info") == 1


async def test_teams_are_workspaces_of_their_own(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        ids = {key: await upload(served, bearer(key)) for key in (RED, BLUE, LONE)}
        for key in ids:
            seen = {each: (await served.call("GET", f"/v1/files/{ids[each]}", headers=bearer(key)))[0] for each in ids}
            assert seen == {each: 200 if each == key else 404 for each in ids}
        callers = [await served.gateway.keys.authenticate(_multi(bearer(key)), None) for key in ids]
        assert [each.workspace for each in callers] == ["team-id-red", "team-id-blue", f"key-{hashed(LONE)[:16]}"]
        assert [each.name for each in callers] == ["red-ci", "blue-ci", f"litellm-{hashed(LONE)[:8]}"]
        identity = callers[0].identity
        assert identity is not None
        assert (identity.spend, identity.max_budget, identity.user_id) == (1.5, 2.0, "u1")
        assert (identity.team_alias, identity.team_spend, identity.team_max_budget) == ("red", 3.0, 9.0)
        assert RED not in repr(callers)


async def test_a_team_or_a_key_is_given_workspace_virtual_keys_models_and_default(tmp_path: Path) -> None:
    said = {
        "teams": {"red": {"workspace": "reds", "virtual_keys": ["red-*"], "default": "red-1"}, "id-blue": {}},
        "keys": {hashed(LONE): {"workspace": "reds", "models": ["gpt-r"], "virtual_keys": ["red-1"]}},
        "default": {"virtual_keys": ["nothing"]},
    }
    async with fronted(tmp_path, said=said) as (served, _):
        file_id = await upload(served, bearer(RED))
        assert (await served.call("GET", f"/v1/files/{file_id}", headers=bearer(LONE)))[0] == 200, "one workspace"
        names = [each["id"] for each in (await served.call("GET", "/v1/models", headers=bearer(RED)))[1]["data"]]
        assert names == ["theirs", "@red-1/gpt-r"]
        wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        denied = bearer(RED) | {"x-portkey-virtual-key": "blue-1"}
        assert (await served.call("POST", "/v1/batches", wanted, denied))[0] == 403
        status, batch, told = await served.call("POST", "/v1/batches", wanted, bearer(RED))
        assert (status, told["x-portkey-provider"]) == (200, "openai"), batch
        lone, blue = [(await served.gateway.keys.authenticate(_multi(bearer(key)), None)) for key in (LONE, BLUE)]
        assert (lone.workspace, lone.virtual_keys) == ("reds", ("red-1",))
        assert (blue.workspace, blue.virtual_keys) == ("team-id-blue", ("*",))


MODEL_LIST = [
    {"model_name": "fast", "litellm_params": {"model": "openai/gpt-a", "api_key": "sk-of-the-list"}},
    {
        "model_name": "slow",
        "litellm_params": {"model": "openai/gpt-b", "api_key": "sk-of-the-list"},
        "model_info": {"access_groups": ["careful"]},
    },
]


ALLOWED: list[tuple[list[str], list[str], set[str]]] = [  # models of a key, of its team, what it reaches
    ([], [], {"fast", "slow"}),
    (["fast"], [], {"fast"}),
    (["careful"], [], {"slow"}),
    ([], ["fast"], {"fast"}),
    (["all-team-models"], ["slow"], {"slow"}),
    (["all-team-models"], [], {"fast", "slow"}),
    (["all-proxy-models"], ["slow"], {"slow"}),
    (["no-default-models"], [], set()),
    (["openai/*"], [], set()),
    (["f*"], [], {"fast"}),
    (["fast", "slow"], ["slow"], {"slow"}),
    (["*ow"], ["careful"], {"slow"}),
    (["fast"], ["slow"], set()),
]


async def test_a_key_reaches_the_models_that_litellm_allows_it(tmp_path: Path) -> None:
    teams: Rows = {f"t{n}": {"models": teams} for n, (_, teams, _) in enumerate(ALLOWED)}
    keys: Rows = {f"sk-{n}": {"team_id": f"t{n}", "models": own} for n, (own, _, _) in enumerate(ALLOWED)}
    async with fronted(tmp_path, LiteLLM(keys, teams), virtual_keys={}, model_list=MODEL_LIST) as (served, _):
        for n, (_, _, may) in enumerate(ALLOWED):
            models = (await served.call("GET", "/v1/models", headers=bearer(f"sk-{n}")))[1]["data"]
            assert {each["id"] for each in models} - {"theirs"} == may, ALLOWED[n]
        of_lines: dict[str, Any] = {"method": "POST", "url": "/v1/chat/completions"}
        lines = [{"custom_id": name, "body": {"model": name, "messages": []}} | of_lines for name in ("fast", "slow")]
        text = "\n".join(map(json.dumps, lines)).encode()
        for key, rejected in (("sk-2", 1), ("sk-7", 2)):
            _, stored, _ = await served.call("POST", "/v1/files", FORM % text, {**bearer(key), **FORM_TYPE})
            wanted = {"input_file_id": stored["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            plan = (await served.call("POST", "/v1/batches/plan", wanted, bearer(key)))[1]
            assert plan["request_counts"]["rejected"] == rejected, plan


async def test_models_are_bounded_by_the_user_and_by_a_team_that_is_not_told(tmp_path: Path) -> None:
    keys: Rows = {RED: {"team_id": "gone", "models": ["fast"]}, BLUE: {"user_id": "u"}, LONE: {"user_id": "no row"}}
    it = LiteLLM(keys, users={"u": {"user_id": "u", "models": ["slow"]}})
    async with fronted(tmp_path, it, virtual_keys={}, model_list=MODEL_LIST) as (served, _):
        for key, may in ((RED, ["theirs"]), (BLUE, ["theirs", "slow"]), (LONE, ["theirs", "fast", "slow"])):
            models = (await served.call("GET", "/v1/models", headers=bearer(key)))[1]["data"]
            assert [each["id"] for each in models] == may


@pytest.mark.parametrize("has_database", [True, False])
async def test_the_master_key_is_everybody_in_the_default_workspace(tmp_path: Path, has_database: bool) -> None:
    """It is known here, so nobody is asked of it."""
    it = LiteLLM(keys=dict(ROWS), teams=TEAMS, has_database=has_database)
    keys = [{"name": "first", "key": KEY, "workspace": "one"}]
    async with fronted(tmp_path, it, api_keys=keys, general_settings={"master_key": MASTER}) as (served, _):
        for sent in (bearer, portkey):
            await upload(served, sent(MASTER))
            chat = await served.call("POST", "/v1/chat/completions", {}, sent(MASTER))
            assert (chat[0], chat[1]["who"]) == (200, "admin")
        assert it.asked == []
        caller = await served.gateway.keys.authenticate(_multi(bearer(MASTER)), None)
        assert (caller.workspace, caller.virtual_keys, caller.models) == ("default", ("*",), None)
        assert caller.identity is not None
        assert (caller.identity.admin, caller.identity.key_hash) == (True, hashed(MASTER))
        assert (await served.call("GET", "/v1/files", headers=WHO))[0] == 200, "keys of our own go on"
        chat = await served.call("POST", "/v1/chat/completions", {}, WHO)
        assert chat[0] == (401 if has_database else 400), "and are not passed on"


@pytest.mark.parametrize("has_database", [True, False])
async def test_a_master_key_that_only_litellm_knows(tmp_path: Path, has_database: bool) -> None:
    async with fronted(tmp_path, LiteLLM(has_database=has_database)) as (served, it):
        await upload(served, bearer(MASTER))
        caller = await served.gateway.keys.authenticate(_multi(bearer(MASTER)), None)
        assert (caller.workspace, caller.identity and caller.identity.admin) == (f"key-{hashed(MASTER)[:16]}", False)
        assert it.asked == ["/key/info", *([] if has_database else ["/team/info"]), "/v1/models"]
        assert (await served.call("GET", "/v1/files", headers=bearer("sk-wrong")))[0] == 401


REFUSED: dict[str, dict[str, Any]] = {
    "sk-unknown": {},
    "sk-blocked": {"blocked": True},  # LiteLLM itself refuses it
    "sk-over": {"expires": "2020-01-01T00:00:00Z"},
    "sk-over-without-a-zone": {"expires": "2020-01-01T00:00:00"},
    "sk-of-no-time": {"expires": "soon"},
}


async def test_a_key_that_litellm_refuses_is_refused(tmp_path: Path) -> None:
    async with fronted(tmp_path, LiteLLM({key: row for key, row in REFUSED.items() if row})) as (served, it):
        for key in REFUSED:
            for sent in (bearer(key), portkey(key), bearer(key)):
                status, answer, _ = await served.call("GET", "/v1/files", headers=sent)
                assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), key
            status, answer, _ = await served.call("POST", "/v1/files", FORM % b"{}", {**bearer(key), **FORM_TYPE})
            assert (status, key in str(answer)) == (401, False)
        assert it.asked.count("/key/info") == len(REFUSED), "a refusal is remembered, too"
        assert (await served.call("GET", "/v1/files", headers={}))[0] == 401


async def test_a_blocked_team_is_refused(tmp_path: Path) -> None:
    it = LiteLLM(keys={RED: {"team_id": "t"}}, teams={"t": {"blocked": True}})
    async with fronted(tmp_path, it) as (served, _):
        assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 401


async def test_what_is_no_key_is_not_asked(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        for odd in ("two words", "sk-\u00e9", "s" * 2000):
            assert (await served.call("GET", "/v1/files", headers=bearer(odd)))[0] == 401
        assert it.seen == []


async def test_a_litellm_that_does_not_answer_is_503_and_nothing_is_stored(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        for it.fails in (500, 502, 429, 302):
            found, answer, _ = await served.call("GET", "/v1/files", headers=bearer(RED))
            assert (found, answer["error"]["code"], answer["error"]["type"]) == (503, "key_not_checked", "server_error")
        it.fails = None
        assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 200, "asked again at once"


async def test_a_litellm_that_is_away(tmp_path: Path) -> None:
    """A key that was known goes on; one that was not is 503; forwarded calls are 502; all is well when it is back."""
    said = {"cache_seconds": 0, "stale_seconds": 600}
    it = LiteLLM(keys=dict(ROWS), teams=TEAMS)
    async with fronted(tmp_path, it, said) as (served, _):
        file_id = await upload(served, bearer(RED))
        it.fails = 503
        assert (await served.call("GET", f"/v1/files/{file_id}", headers=bearer(RED)))[0] == 200
        assert (await served.call("GET", "/v1/files", headers=bearer(BLUE)))[0] == 503
        it.fails = None
        assert (await served.call("GET", "/v1/files", headers=bearer(BLUE)))[0] == 200
    nowhere: dict[str, Any] = {"server": {"upstream": "http://127.0.0.1:9"}, "auth": "litellm", "api_keys": []}
    async with running(tmp_path / "b", **nowhere) as served:
        assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 503
        assert (await served.call("POST", "/v1/chat/completions", {}, bearer(RED)))[0] == 502
        assert (await served.call("GET", "/v1/models", headers=bearer(RED)))[0] == 502


async def test_a_key_that_is_taken_back_ends_with_the_cache(tmp_path: Path) -> None:
    it = LiteLLM(keys=dict(ROWS), teams=TEAMS)
    async with fronted(tmp_path, it, {"cache_seconds": 0}) as (served, _):
        await upload(served, bearer(RED))
        del it.keys[RED]
        assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 401
        it.fails = 503
        assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 401, "what was refused stays refused"


async def test_askers_of_one_key_share_a_question_and_questions_are_bounded(tmp_path: Path) -> None:
    keys = {f"sk-{n}": {"key_alias": f"k{n}"} for n in range(12)}
    it = LiteLLM(keys=keys, holds=asyncio.Event())
    async with fronted(tmp_path, it, {"at_once": 3}) as (served, _):
        assert it.holds is not None
        calls = [
            asyncio.create_task(served.call("GET", "/v1/files", headers=bearer(key))) for key in keys for _ in range(3)
        ]
        await eventually(lambda: it.running == 3)
        it.holds.set()
        assert {(await each)[0] for each in calls} == {200}
        assert (len(it.asked), it.most) == (12, 3)


async def test_an_asker_that_leaves_does_not_end_the_question_of_others(tmp_path: Path) -> None:
    it = LiteLLM(keys=dict(ROWS), teams=TEAMS, holds=asyncio.Event())
    async with fronted(tmp_path, it) as (served, _):
        assert it.holds is not None
        keys = served.gateway.keys
        first, second = (asyncio.create_task(keys.authenticate(_multi(bearer(RED)), None)) for _ in range(2))
        await eventually(lambda: it.running == 1)
        first.cancel()
        it.holds.set()
        assert (await second).name == "red-ci"
        assert it.asked.count("/key/info") == 1


async def test_an_expected_upload_is_refused_before_its_body(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        sent = {**bearer("sk-nobody"), **FORM_TYPE, "Expect": "100-continue"}
        assert (await served.call("POST", "/v1/files", FORM % b"{}", sent))[0] == 401
        sent = {**bearer(RED), **FORM_TYPE, "Expect": "100-continue"}
        assert (await served.call("POST", "/v1/files", FORM % b"{}", sent))[0] == 200


# ---- keys of our own ----


async def test_the_upstreams_key_goes_on_in_the_place_of_ours(tmp_path: Path) -> None:
    keys = [
        {"name": "first", "key": KEY, "workspace": "one", "upstream_key": RED},
        {"name": "second", "key": OTHER_KEY, "workspace": "two"},
    ]
    async with fronted(tmp_path, auth="keys", api_keys=keys) as (served, it):
        for sent in (
            bearer(KEY),
            portkey(KEY),
            {"x-api-key": KEY},
            {"api-key": KEY},
            {"x-portkey-api-key": KEY, "x-api-key": KEY},
        ):
            status, answer, _ = await served.call("POST", "/v1/chat/completions", {}, sent)
            assert (status, answer.get("who")) == (200, "red-ci"), sent
            assert KEY not in str(it.seen)
        both = {"x-portkey-api-key": KEY, **bearer(BLUE)}
        chat = await served.call("POST", "/v1/chat/completions", {}, both)
        assert chat[1]["who"] == "blue-ci", "as the client said"
        for path in ("/v1/files", "/v1/batches"):
            assert (await served.call("GET", path, headers=bearer(KEY)))[0] == 200
        models = (await served.call("GET", "/v1/models", headers=bearer(KEY)))[1]["data"]
        assert [each["id"] for each in models] == ["theirs", "@red-1/gpt-r", "@blue-1/gpt-b"]
        assert (await served.call("POST", "/v1/chat/completions", {}, bearer(OTHER_KEY)))[0] == 401


async def test_a_key_that_is_not_ours_is_asked_of_the_upstream_before_it_is_refused(tmp_path: Path) -> None:
    """Its files and batches are the upstream's own then, as for whoever asks it directly."""
    keys = [{"name": "first", "key": KEY, "workspace": "one"}]
    async with fronted(tmp_path, auth="keys", api_keys=keys) as (served, it):
        for asked in ("GET /v1/files", "GET /files/file-1", "POST /v1/batches", "GET /v1/models", "DELETE /v1/files/a"):
            method, path = asked.split()
            status, answer, _ = await served.call(method, path, headers=bearer(RED))
            assert (status, answer.get("path", path)) == (200, path)
        sent = await served.call("POST", "/v1/files", FORM % bytes(100_000), {**bearer(RED), **FORM_TYPE})
        assert (sent[0], sent[1]["bytes"], sent[1]["who"]) == (200, len(FORM % bytes(100_000)), "red-ci")
        assert (await served.call("GET", "/v1/files", headers=bearer("sk-nobody")))[0] == 401, "the upstream's refusal"
        before = len(it.seen)
        for refused in ({}, portkey(RED), portkey("pk-nobody")):
            status, answer, _ = await served.call("GET", "/v1/files", headers=refused)
            assert (status, answer["status"]) == (401, "failure"), "nobody, and what only we could know"
        assert (await served.call("GET", "/v1/files", headers={**WHO, **bearer(RED)}))[0] == 200
        assert len(it.seen) == before


async def test_two_keys_in_one_header_are_refused_here(tmp_path: Path) -> None:
    for auth in ("keys", "litellm"):
        async with fronted(tmp_path / auth, auth=auth, api_keys=[{"name": "first", "key": KEY}]) as (served, it):
            two = [("Authorization", f"Bearer {RED}"), ("Authorization", f"Bearer {BLUE}")]
            async with served.session.get(f"{served.url}/v1/files", headers=two) as answer:
                assert (answer.status, "More than one" in await answer.text()) == (401, True)
            assert it.seen == []


async def test_whom_litellm_has_authenticated_itself_is_taken_at_its_word(tmp_path: Path) -> None:
    said = {"teams": {"red": {"workspace": "reds"}}}
    async with running(tmp_path, litellm_keys=said) as served:
        identity = Identity(name="red-ci", key_hash=hashed(RED), team_id="id-red", team_alias="red", models=("fast",))
        for headers, where in ((bearer(RED), "authorization"), ({"x-api-key": RED}, "x-api-key"), ({}, None)):
            caller = served.gateway.keys.vouched(identity, _multi({**headers, "x-other": "y"}))
            assert (caller.name, caller.workspace, caller.models) == ("red-ci", "reds", ("fast",))
            assert (caller.credential_in, caller.identity, caller.forwards) == (where, identity, True)
            assert caller.private_headers == {"x-portkey-api-key", *([where] if where else [])}
        both = {"x-litellm-api-key": RED, **bearer("sk-of-a-provider")}
        caller = served.gateway.keys.vouched(identity, _multi(both))
        assert provider_key(_multi(both), caller.private_headers) == "sk-of-a-provider"


async def test_without_an_upstream_other_keys_are_refused_here(tmp_path: Path) -> None:
    for auth in ("keys", "litellm"):
        async with running(tmp_path / auth, auth=auth) as served:
            assert (await served.call("GET", "/v1/files", headers=bearer(RED)))[0] == 401
            assert (await served.call("GET", "/v1/files", headers=WHO))[0] == 200
    async with running(tmp_path / "closed", auth="litellm", api_keys=[]) as served:
        assert (await served.call("GET", "/v1/files", headers={}))[0] == 401, "never open for lack of keys"
