"""Without an upstream the gateway answers chat, completions, embeddings and responses itself, as Portkey's does."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI, NotFoundError

from tests.support import calls_here
from tests.support.ports import free_port
from tests.support.served import KEY as OURS
from tests.support.served import WHO, Served, running
from tests.support.talker import KEY, WORDS, Json, Talker, talking

CHAT = "/v1/chat/completions"
HI: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = "x-portkey-last-used-option-index", "x-portkey-retry-attempt-count", "x-portkey-cache-status"


@dataclass
class Scene:
    """A gateway without an upstream, and two accounts, `a` and `b`, at two providers."""

    served: Served
    a: Talker
    b: Talker

    async def ask(
        self, body: object = HI, path: str = CHAT, config: object = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Make a call; `config` becomes the header."""
        sent = WHO | {f"x-portkey-{name.replace('_', '-')}": text for name, text in headers.items()}
        if config is not None:
            sent["x-portkey-config"] = json.dumps(config)
        return await self.served.call("POST", path, body, sent)

    @property
    def asked(self) -> list[str]:
        """The names of the providers that were called, in no order."""
        return [talker.name for talker in (self.a, self.b) for _ in talker.seen]


@asynccontextmanager
async def scene(folder: Path, **sections: Any) -> AsyncIterator[Scene]:
    a, b = Talker("a"), Talker("b")
    async with talking(a, b):
        keys = {each.name: {"provider": "openai", "api_key": KEY, "custom_host": each.url} for each in (a, b)}
        keys |= sections.pop("virtual_keys", {})
        async with running(folder, virtual_keys=keys, server={"custom_hosts": ["127.0.0.1"]}, **sections) as served:
            yield Scene(served, a, b)


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls_here.use(monkeypatch)


def told(headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(headers[name] for name in ANSWER)


def text(answer: Json) -> str:
    return str(answer["choices"][0]["message"]["content"])


async def test_stock_clients_get_every_kind_of_answer(tmp_path: Path) -> None:
    async with scene(tmp_path) as s, AsyncOpenAI(api_key=OURS, base_url=f"{s.served.url}/v1") as client:
        chat = await client.chat.completions.create(model="@a/m", messages=[{"role": "user", "content": "hi"}])
        assert (chat.choices[0].message.content, chat.model) == ("a: hi", "m")
        said = await client.completions.create(model="@b/m", prompt="once")
        assert said.choices[0].text == "b: once"
        response = await client.responses.create(model="@b/m", input="what")
        assert response.output_text == "b: what"
        vectors = await client.embeddings.create(model="@a/m", input="x")
        assert vectors.data[0].embedding == [0.5, -1.0, 2.0]
        assert s.a.seen[-1][1]["encoding_format"] == "base64", "what the client sends goes as it is"
        with pytest.raises(NotFoundError):
            await client.moderations.create(model="@a/m", input="x")
        stream = await client.chat.completions.create(
            model="@a/m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == [*WORDS, None]
        events = await client.responses.create(model="@b/m", input="what", stream=True)
        assert [event.type async for event in events] == ["response.output_text.delta"] * len(WORDS)
        assert [each.id async for each in client.models.list()] == []


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/openai/v1/chat/completions"])
async def test_a_provider_sees_the_body_and_its_own_key_and_nothing_of_ours(tmp_path: Path, path: str) -> None:
    body = b'{"model":"m", "n": 12345678901234567890123, "messages":[{"role":"user","content":"\\ud83d"}]}'
    async with scene(tmp_path) as s:
        status, answer, headers = await s.ask(body, path, virtual_key="a", trace_id="of-the-client")
        assert (status, s.a.seen) == (200, [(CHAT, json.loads(body))])
        assert s.a.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert (headers["x-portkey-provider"], headers["x-portkey-trace-id"]) == ("openai", "of-the-client")
        assert headers["x-ratelimit-remaining-requests"] == "9"
        assert told(headers) == ("config", "0", "DISABLED")
        assert answer["usage"]["total_tokens"] == 3


async def test_chunks_come_one_by_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.a.gate = asyncio.Semaphore(0)
        url, sent = s.served.url + CHAT, WHO | {"x-portkey-provider": "@a"}
        events = s.a.events(CHAT, HI)
        task = asyncio.create_task(s.served.session.post(url, json=HI | {"stream": True}, headers=sent))
        s.a.gate.release()
        answer = await task
        for event in events:
            assert await answer.content.readexactly(len(event)) == event, "byte for byte, before the next one is made"
            s.a.gate.release()
        assert await answer.content.read() == b""
        assert answer.content_type == "text/event-stream"
        assert told(answer.headers) == ("config", "0", "DISABLED")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_ends_the_call(tmp_path: Path, begun: bool) -> None:
    async with scene(tmp_path) as s:
        s.a.gate, s.a.hangs = asyncio.Semaphore(1 if begun else 0), not begun
        async with aiohttp.ClientSession() as session:
            call = session.post(
                s.served.url + CHAT, json=HI | {"stream": begun}, headers=WHO | {"x-portkey-provider": "@a"}
            )
            task = asyncio.ensure_future(call)
            if begun:
                answer = await task
                await answer.content.readany()
                answer.close()
            else:
                while not s.a.seen:
                    await asyncio.sleep(0.01)
                task.cancel()
        await asyncio.wait_for(s.a.left.wait(), 30)


async def test_a_stream_that_breaks_is_broken_off(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.a.breaks_after = 2
        sent = WHO | {"x-portkey-provider": "@a"}
        async with s.served.session.post(s.served.url + CHAT, json=HI | {"stream": True}, headers=sent) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_fallback_goes_on_with_its_statuses_alone(tmp_path: Path, stream: bool) -> None:
    config = {
        "strategy": {"mode": "fallback", "on_status_codes": [429, 502]},
        "targets": [{"virtual_key": "gone"}, {"virtual_key": "a"}, {"virtual_key": "b"}],
    }
    gone = {"gone": {"provider": "openai", "api_key": KEY, "custom_host": f"http://127.0.0.1:{free_port()}/v1"}}
    async with scene(tmp_path, virtual_keys=gone) as s:
        s.a.fails = [429, 500]
        sent, url = WHO | {"x-portkey-config": json.dumps(config)}, s.served.url + CHAT
        async with s.served.session.post(url, json=HI | {"stream": stream}, headers=sent) as answer:
            assert (answer.status, told(answer.headers)) == (200, ("config.targets[2]", "0", "DISABLED"))
            assert (WORDS[0] if stream else "b: hi") in await answer.text()
        async with s.served.session.post(url, json=HI | {"stream": stream}, headers=sent) as answer:
            assert (answer.status, answer.headers["x-portkey-last-used-option-index"]) == (500, "config.targets[1]")
            error = (await answer.json())["error"]
        assert error == {"message": "said of [credential]", "type": "t", "param": None, "code": "its_code"}
        assert s.asked == ["a", "a", "b"]


async def test_a_target_that_cannot_have_a_body_is_passed_over(tmp_path: Path) -> None:
    targets = [{"virtual_key": "theirs"}, {"virtual_key": "b"}]
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    theirs = {"theirs": {"provider": "openai", "api_key": KEY, "models": ["other"]}}
    async with scene(tmp_path, virtual_keys=theirs) as s:
        status, answer, headers = await s.ask(config=config)
        assert (status, text(answer), headers[ANSWER[0]]) == (200, "b: hi", "config.targets[1]")
        status, answer, _ = await s.ask(config=targets[0])
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "model_not_allowed", "model")


@pytest.mark.parametrize(
    ("fails", "retry", "status", "count", "calls"),
    [
        ([503, 503], {"attempts": 3}, 200, "2", 3),
        ([503, 503], {"attempts": 1}, 503, "-1", 2),
        ([400], {"attempts": 3}, 400, "0", 1),
        ([400], {"attempts": 3, "on_status_codes": [400]}, 200, "1", 2),
        ([503], None, 503, "0", 1),
    ],
)
async def test_a_call_is_made_again_as_the_config_says(
    tmp_path: Path, fails: list[int], retry: Json | None, status: int, count: str, calls: int
) -> None:
    again = None if retry is None else retry | {"use_retry_after_header": True}
    async with scene(tmp_path) as s:
        s.a.fails, s.a.fail_headers = list(fails), {"Retry-After": "0"}
        found, _, headers = await s.ask(config={"virtual_key": "a", "retry": again})
        assert (found, headers[ANSWER[1]], len(s.a.seen)) == (status, count, calls)


async def test_load_is_shared_by_weight(tmp_path: Path) -> None:
    targets = [{"virtual_key": "a", "weight": 3}, {"virtual_key": "b", "override_params": {"model": "heavy"}}]
    async with scene(tmp_path) as s:
        options = [  # the sequence is within one of its share at each of its places
            (await s.ask(config={"strategy": {"mode": "loadbalance"}, "targets": targets}))[2][ANSWER[0]]
            for _ in range(20)
        ]
        assert set(options) == {"config.targets[0]", "config.targets[1]"}
        assert 14 <= options.count("config.targets[0]") <= 16
        assert {body["model"] for _, body in s.b.seen} == {"heavy"}


async def test_conditions_look_at_metadata_and_the_body(tmp_path: Path) -> None:
    strategy = {
        "mode": "conditional",
        "conditions": [
            {"query": {"metadata.plan": {"$eq": "paid"}}, "then": "best"},
            {"query": {"params.model": {"$eq": "tiny"}}, "then": "best"},
        ],
        "default": "usual",
    }
    targets = [{"name": "best", "virtual_key": "a"}, {"name": "usual", "virtual_key": "b"}]
    config = {"strategy": strategy, "targets": targets}
    async with scene(tmp_path) as s:
        assert text((await s.ask(config=config, metadata='{"plan": "paid"}'))[1]) == "a: hi"
        assert text((await s.ask(HI | {"model": "tiny"}, config=config))[1]) == "a: hi"
        assert text((await s.ask(config=config))[1]) == "b: hi"
        shared = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "a"}, {"virtual_key": "b"}]}
        config["targets"] = [targets[0], {"name": "usual", **shared}]
        for user in range(8):
            await s.ask(config=config, metadata=json.dumps({"plan": "free", "_user": f"u{user}"}))
        assert len(s.a.seen) - 2 == 4, "turns are taken by all calls, whoever they are of"
        config["targets"] = targets
        del strategy["default"]
        status, answer, _ = await s.ask(config=config)
        assert (status, answer["error"]["code"]) == (400, "no_target")
        status, answer, _ = await s.ask(HI | {"model": "@b/m"}, virtual_key="a")
        assert (status, answer["error"]["code"]) == (400, "virtual_key_conflict")


async def test_a_changed_configuration_counts_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        assert text((await s.ask(virtual_key="a"))[1]) == "a: hi"
        old = s.served.gateway.config
        moved = old.virtual_keys["a"].model_copy(update={"credentials": old.virtual_keys["b"].credentials})
        s.served.gateway.learn(replace(old, virtual_keys={"a": moved}))
        assert text((await s.ask(virtual_key="a"))[1]) == "b: hi"
        status, answer, _ = await s.ask(virtual_key="b")
        assert (status, answer["error"]["code"]) == (400, "invalid_virtual_key")


async def test_equal_calls_are_given_the_answer_that_is_kept(tmp_path: Path) -> None:
    config = {"virtual_key": "a", "cache": {"mode": "simple", "max_age": 60}}
    async with scene(tmp_path) as s:
        seen = [told((await s.ask(config=config))[2])[2] for _ in range(2)]
        fresh = await s.ask(config=config, cache_force_refresh="true")
        other = await s.ask(HI | {"model": "other"}, config=config)
        streamed = s.served.session.post(
            s.served.url + CHAT, json=HI | {"stream": True}, headers=WHO | {"x-portkey-config": json.dumps(config)}
        )
        async with streamed as answer:
            assert told(answer.headers)[2] == "DISABLED"
        assert (seen, told(fresh[2])[2], told(other[2])[2]) == (["MISS", "HIT"], "REFRESH", "MISS")
        assert len(s.a.seen) == 4
        s.a.fails = [500]
        failed = [await s.ask(HI | {"seed": 1}, config=config) for _ in range(2)]
        assert [(status, told(headers)[2]) for status, _, headers in failed] == [(500, "MISS"), (200, "MISS")]


async def test_a_config_changes_bodies_and_bounds_time(tmp_path: Path) -> None:
    config = {
        "virtual_key": "a",
        "override_params": {"temperature": 0, "model": "of-the-config"},
        "default_params": {"seed": 7},
        "drop_params": ["user"],
    }
    async with scene(tmp_path) as s:
        status, _, _ = await s.ask({"messages": HI["messages"], "user": "me", "stream": False}, config=config)
        assert (status, s.a.seen[0][1]) == (
            200,
            {"messages": HI["messages"], "temperature": 0, "model": "of-the-config", "seed": 7},
        )
        s.a.hangs = True
        late = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "a"}, {"virtual_key": "b"}]}
        status, answer, headers = await s.ask(config=late | {"request_timeout": 50})
        assert (status, text(answer), headers[ANSWER[0]]) == (200, "b: hi", "config.targets[1]")
        for limit in ({"config": {"virtual_key": "a", "request_timeout": 50}}, {"virtual_key": "a"}):
            sent = {} if "config" in limit else {"request_timeout": "50"}
            status, answer, _ = await s.ask(**limit, **sent)
            assert (status, answer["error"]["type"]) == (408, "timeout_error")
            assert answer["error"]["message"] == "Request exceeded the timeout sent in the request: 50ms"


async def test_a_key_of_the_callers_own_goes_to_its_provider(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_keys={}) as s:
        s.a.key = "sk-of-the-caller"
        sent = WHO | {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": s.a.url,
            "Authorization": "Bearer sk-of-the-caller",
        }
        status, answer, headers = await s.served.call("POST", CHAT, HI, sent)
        assert (status, text(answer), headers["x-portkey-provider"]) == (200, "a: hi", "openai")
        target = {"provider": "openai", "api_key": "sk-of-the-caller", "custom_host": s.a.url}
        status, answer, _ = await s.ask(config=target)
        assert (status, text(answer)) == (200, "a: hi")


async def test_a_model_of_the_list_names_its_account(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        entries = [
            {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_key": KEY, "api_base": s.a.url}}
            for name, model in (("fast", "gpt-small"), ("mine/*", "*"))
        ]
        async with running(tmp_path / "other", server={"custom_hosts": ["127.0.0.1"]}, model_list=entries) as served:
            for asked, sent in (("fast", "gpt-small"), ("mine/gpt-x", "gpt-x")):
                status, answer, _ = await served.call("POST", CHAT, HI | {"model": asked}, WHO)
                assert (status, answer["model"]) == (200, sent)
            _, listed, _ = await served.call("GET", "/v1/models", headers=WHO)
            assert [each["id"] for each in listed["data"]] == ["fast"]
            status, answer, _ = await served.call("POST", CHAT, HI | {"model": "unknown"}, WHO)
            assert (status, answer["error"]["code"]) == (400, "model_not_found")


@pytest.mark.parametrize(
    ("body", "path", "param"),
    [
        (b"{", CHAT, None),
        (b"[]", CHAT, None),
        ({"messages": []}, CHAT, "model"),
        (HI | {"stream": "yes"}, CHAT, "stream"),
        ({"model": "m", "input": "x", "stream": True}, "/v1/embeddings", "stream"),
    ],
)
async def test_what_is_no_request_is_refused_by_name(
    tmp_path: Path, body: object, path: str, param: str | None
) -> None:
    async with scene(tmp_path) as s:
        status, answer, headers = await s.ask(body, path, virtual_key="a")
        assert (status, answer["error"]["type"], answer["error"]["param"]) == (400, "invalid_request_error", param)
        assert headers["x-portkey-trace-id"]
        assert s.asked == []


async def test_who_may_not_call_is_refused_before_a_body_is_read(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        status, answer, _ = await s.served.call("POST", CHAT, HI, {"Authorization": "Bearer nobody"})
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        status, answer, _ = await s.ask(virtual_key="unknown")
        assert (status, answer["error"]["code"]) == (400, "invalid_virtual_key")
        other = {"x-portkey-api-key": "key-of-the-second-workspace", "x-portkey-virtual-key": "a"}
        status, answer, _ = await s.served.call("POST", CHAT, HI, other)
        assert (status, answer["error"]["code"]) == (403, "permission_denied")
        assert s.asked == []


async def test_a_body_has_a_bound_also_when_it_comes_packed(tmp_path: Path) -> None:
    async with scene(tmp_path, alone={"max_body_bytes": 1000}) as s:
        status, answer, _ = await s.ask(HI | {"user": "u" * 1000}, virtual_key="a")
        assert (status, answer["error"]["code"]) == (413, "request_too_large")
        assert s.asked == []


async def test_an_account_whose_calls_need_litellm_says_what_to_install(tmp_path: Path) -> None:
    async with scene(tmp_path, virtual_keys={"claude": {"provider": "anthropic", "api_key": KEY}}) as s:
        status, answer, _ = await s.ask(HI | {"max_tokens": 5}, virtual_key="claude")
        assert (status, answer["error"]["code"]) == (403, "no_direct_way")
        assert "pip install 'proxy-plugin[litellm]'" in answer["error"]["message"]


async def test_an_account_that_makes_no_calls_says_so(tmp_path: Path) -> None:
    never = {"never": {"provider": "openai", "api_key": KEY, "direct_calls": "never"}}
    async with scene(tmp_path, virtual_keys=never) as s:
        status, answer, _ = await s.ask(virtual_key="never")
        assert (status, answer["error"]["code"]) == (400, "no_direct_way")


async def test_an_application_keeps_its_own_routes(tmp_path: Path) -> None:
    async def theirs(request: web.Request) -> web.Response:
        return web.json_response({"whose": "theirs"})

    app = web.Application()
    app.router.add_post(CHAT, theirs)
    async with running(tmp_path, app) as served:
        status, answer, _ = await served.call("POST", CHAT, HI)
        assert (status, answer) == (200, {"whose": "theirs"})


@pytest.mark.parametrize("sections", [{"virtual_keys": {}}, {"alone": {"enabled": False}}])
async def test_without_an_account_there_is_no_such_route(tmp_path: Path, sections: Json) -> None:
    async with (
        running(tmp_path, **sections) as served,
        served.session.post(served.url + CHAT, json=HI, headers=WHO) as answer,
    ):
        assert answer.status == 404


async def test_vectors_that_come_as_numbers_become_the_text_that_was_asked_for(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        mistral = {"m": {"provider": "mistral-ai", "api_key": KEY, "custom_host": s.a.url}}
        sections: Json = {"virtual_keys": mistral, "server": {"custom_hosts": ["127.0.0.1"]}}
        async with running(tmp_path / "other", **sections) as served:
            body = {"model": "mistral-embed", "input": "x", "encoding_format": "base64"}
            status, answer, _ = await served.call("POST", "/v1/embeddings", body, WHO | {"x-portkey-provider": "@m"})
        assert (status, "encoding_format" in s.a.seen[0][1]) == (200, False), answer
        assert struct.unpack("<3f", base64.b64decode(answer["data"][0]["embedding"])) == (0.5, -1.0, 2.0)
