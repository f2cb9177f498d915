"""Every provider has its ordinary calls: lines of OpenAI's document, credentials under the names of who makes them."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from proxy_plugin.ground.masking import secrets_in
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import InputMode, LineIn, LineRejected, Native, Target, Usage
from proxy_plugin.providers.direct import lane, litellm_providers, ways
from proxy_plugin.providers.direct.base import Outgoing, Reply
from proxy_plugin.providers.direct.http_caller import HttpCaller
from proxy_plugin.providers.direct.renewed import Renewed
from proxy_plugin.providers.direct.unable import Unable
from proxy_plugin.providers.signing.azure_accounts import EntraCredentials
from proxy_plugin.providers.signing.signer import Signed

CHAT, ID = "/v1/chat/completions", "abcdefghij00000001"
PLAIN = Target()
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
WITH_CALLS = [name for name in catalog.names() if name not in ways.NONE]


def direct(name: str) -> lane.Direct:
    found = catalog.direct(name)
    assert isinstance(found, lane.Direct)
    return found


def translated(name: str, body: dict[str, Any], target: Target = PLAIN, url: str = CHAT) -> Native:
    return direct(name).translate(LineIn(ID, url, json.dumps(body).encode(), "m"), target)


@pytest.mark.parametrize("name", WITH_CALLS)
def test_every_lane_has_calls_at_full_price_one_a_line(name: str) -> None:
    facts = direct(name).capabilities
    assert (facts.provider, facts.input_mode, facts.discount) == (name, InputMode.DIRECT, 0)
    assert facts.max_lines == 5_000
    assert facts.endpoints
    assert not facts.endpoints & ways.NOT_CALLS
    assert direct(name).credentials is catalog.load(name).credentials


@pytest.mark.parametrize("name", ways.NONE)
def test_a_lane_without_calls_says_why(name: str) -> None:
    with pytest.raises(catalog.UnknownProvider, match=ways.NONE[name][:30]):
        catalog.direct(name)


def test_records_name_lanes_and_their_credentials() -> None:
    assert {*ways.WAYS, *ways.NONE} <= {*catalog.BUILT_IN}
    for name, way in ways.WAYS.items():
        fields = catalog.load(name).credentials.model_fields.keys()
        assert {*way.names, *way.hosts, *way.headers.values(), *way.refused} <= {*fields}, name
        assert bool(way.litellm) == bool(way.names), name


@pytest.mark.parametrize("name", [*WITH_CALLS, "deepseek", "ollama"])
def test_a_line_is_one_of_openais_document(name: str) -> None:
    lane_endpoints = direct(name).capabilities.endpoints
    url = CHAT if CHAT in lane_endpoints else "/v1/embeddings"
    made = translated(name, BODY if url == CHAT else {"model": "m", "input": "hi"}, Target("other"), url)
    line = json.loads(made.data)
    assert (line["custom_id"], line["method"], line["url"]) == (ID, "POST", url)
    assert line["body"]["model"] == "other"
    with pytest.raises(LineRejected, match="has no calls of /v1/videos"):
        translated(name, BODY, url="/v1/videos")


@pytest.mark.parametrize("name", ["openai", "deepseek", "anthropic"])
@given(more=st.dictionaries(st.text(min_size=1).filter(lambda key: key != "model"), st.integers() | st.text()))
def test_a_body_loses_nothing_but_what_is_said(name: str, more: dict[str, Any]) -> None:
    made = translated(name, BODY | more, Target(drop_params=True))
    gone = lane.LITELLMS if direct(name).way.litellm else frozenset()
    kept = {key: value for key, value in (BODY | more).items() if key not in gone}
    assert json.loads(made.data)["body"] == (kept | {"drop_params": True} if gone else kept)
    assert {*made.dropped} == (BODY | more).keys() & gone


def test_what_a_line_says_of_litellms_own_switch_does_not_count() -> None:
    made = translated("deepseek", {**BODY, "drop_params": True})
    assert json.loads(made.data)["body"] == BODY
    assert made.dropped == ("drop_params",)


def test_rows_are_openais() -> None:
    body = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    row = {"custom_id": ID, "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}
    for name in ("openai", "deepseek", "bedrock"):
        found = direct(name).row(json.dumps(row).encode(), "answers.jsonl", CHAT)
        assert found is not None
        assert (found.ok, found.native_id, found.usage and found.usage.input_tokens) == (True, ID, 3)


def test_mistrals_lines_and_rows_are_its_own() -> None:
    made = translated("mistral-ai", {"model": "m", "input": "hi"}, url="/v1/responses")
    line = json.loads(made.data)
    assert line["url"] == CHAT
    assert line["body"]["messages"] == [{"role": "user", "content": "hi"}]
    with pytest.raises(LineRejected, match="leave encoding_format out"):
        translated("mistral-ai", {"model": "m", "input": "hi", "encoding_format": "base64"}, url="/v1/embeddings")


def test_providers_of_litellm_alone_are_served() -> None:
    assert len(catalog.litellms()) > 100
    assert not catalog.litellms() & {*catalog.names()}
    assert catalog.load("vllm") is catalog.load("hosted_vllm")
    for name in catalog.litellms():
        facts = catalog.load(name).capabilities
        assert (facts.provider, facts.input_mode) == (name, InputMode.DIRECT)
        assert facts.endpoints <= {*ways.TALKS, ways.EMBEDDINGS, ways.MODERATIONS, ways.IMAGES, ways.RERANK}


def test_an_account_is_told_under_litellms_names_and_its_secrets_are_known() -> None:
    model = catalog.load("deepseek").credentials
    account = model.model_validate({"api_key": "the-key-of-it", "api_base": "https://own.example/v1/"})
    assert {*secrets_in(account)} == {"the-key-of-it"}
    assert litellm_providers.parameters(account) == {"api_key": "the-key-of-it", "api_base": "https://own.example/v1"}
    assert account.borrowed() == "custom_host"
    assert model.model_validate({"api_key": "k"}).borrowed() is None
    with pytest.raises(ValidationError, match="custom_host and api_base are the same setting"):
        model.model_validate({"api_key": "k", "api_base": "https://a.example", "custom_host": "https://b.example"})
    with pytest.raises(ValidationError, match="colour"):
        model.model_validate({"api_key": "k", "colour": "blue"})
    with pytest.raises(ValidationError, match="api_key"):
        model.model_validate({})


def test_an_account_goes_to_a_worker_and_is_the_same_there() -> None:
    account = catalog.load("gigachat").credentials.model_validate({"api_key": "k", "gigachat_scope": "s"})
    assert pickle.loads(pickle.dumps(account)) == account


def test_what_leads_to_other_hosts_is_for_the_operator_alone() -> None:
    for name in catalog.litellms():
        leading = [each for each in catalog.load(name).credentials.model_fields if each.endswith(("_url", "_endpoint"))]
        for each in leading:
            whole = dict.fromkeys(litellm_providers.providers()[name].needed, "x") | {each: "https://x.example"}
            whole |= {"api_base": "https://x.example"} if "api_base" in whole else {}
            assert catalog.load(name).credentials.model_validate(whole).borrowed() is not None, (name, each)


def test_credentials_of_lanes_become_litellms() -> None:
    anthropic = direct("anthropic")
    given = {"api_key": "k", "custom_host": "https://own.example/v1", "anthropic_beta": "b"}
    assert anthropic._parameters(anthropic.credentials.model_validate(given)) == {
        "api_key": "k",
        "api_base": "https://own.example/v1/messages",
        "extra_headers": {"anthropic-version": "2023-06-01", "anthropic-beta": "b"},
    }
    bedrock = direct("bedrock")
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s", "aws_region": "eu-west-1"}
    host = {"bedrock_runtime_endpoint_url": "https://vpce.example/openai/v1"}
    told = bedrock._parameters(bedrock.credentials.model_validate(keys | host))
    assert told["aws_region_name"] == "eu-west-1"
    assert told["aws_bedrock_runtime_endpoint"] == "https://vpce.example"
    assert told["aws_secret_access_key"] == "s"


@pytest.mark.parametrize(
    ("name", "host", "base"),
    [
        ("azure-openai", "https://r.openai.azure.com/openai/deployments/x?y=1", "https://r.openai.azure.com/openai/v1"),
        ("fireworks-ai", "https://api.fireworks.ai", "https://api.fireworks.ai/inference/v1"),
        ("perplexity-ai", "https://api.perplexity.ai/v1", "https://api.perplexity.ai"),
        ("zhipu", "https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4"),
    ],
)
def test_the_base_of_calls_follows_from_that_of_the_lane(name: str, host: str, base: str) -> None:
    assert direct(name).way.base.host(host) == base


def test_where_no_call_can_be_made_every_line_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_providers, "installed", lambda *_: False)
    account = catalog.load("deepseek").credentials.model_validate({"api_key": "k"})
    caller = direct("deepseek").caller(account, "", Outgoing())
    assert isinstance(caller, Unable)
    reply = asyncio.run(caller.call(CHAT, b"{}", ID, 1.0))
    assert reply.status == 403
    assert json.loads(reply.body)["error"]["message"] == f"{litellm_providers.MISSING}."
    vertex = {"vertex_project_id": "p", "vertex_storage_bucket_name": "bucket", "api_key": SecretStr("token")}
    refused = direct("vertex-ai").caller(direct("vertex-ai").credentials.model_validate(vertex), "", Outgoing())
    assert isinstance(refused, Unable)
    assert refused.why.startswith("api_key: an access token is of no use")


def test_litellm_is_imported_where_calls_are_made_and_nowhere_else() -> None:
    root = Path(lane.__file__).parents[2]
    importing = re.compile(r"^ *(import|from) litellm\b", re.MULTILINE)
    paths = (*root.rglob("*.py"), *(root / "providers").resolve().rglob("*.py"))
    found = {path.name for path in paths if path.parent.name != "inside" and importing.search(path.read_text())}
    assert found == {"litellm_caller.py"}  # what is inside LiteLLM's process has it already


@pytest.mark.parametrize(
    ("name", "told", "headers"),
    [
        ("openai", {"openai_organization": "org"}, {"Authorization": "Bearer k", "OpenAI-Organization": "org"}),
        ("openai-compatible", {"custom_host": "https://x.example/v1", "key_header": "x-api-key"}, {"x-api-key": "k"}),
        ("together-ai", {}, {"Authorization": "Bearer k"}),
    ],
)
def test_our_own_client_has_the_headers_of_the_lane(name: str, told: dict[str, str], headers: dict[str, str]) -> None:
    account = catalog.load(name).credentials.model_validate({"api_key": "k", **told})
    caller = direct(name).caller(account, "https://x.example/v1", Outgoing(headers={"x-more": "of the client"}))
    assert isinstance(caller, HttpCaller)
    assert headers.items() <= caller._headers.items()
    assert caller._headers["x-more"] == "of the client"


class Tokens:
    """A signer whose token ends with every refusal, and who makes calls with it: only the last token is taken."""

    ended = frozenset[str]()

    def __init__(self) -> None:
        self.number, self.used = 1, list[str]()

    def prove(self, _: object) -> tuple[dict[str, str], Tokens]:
        return {}, self

    async def sign(self, _: object) -> Signed:
        return Signed({"Authorization": f"Bearer {self.number}"}, kept=str(self.number))

    async def renew(self, refused: Signed) -> bool:
        self.number = 2
        return refused.kept == "1"

    def calls(self, headers: Mapping[str, str]) -> Unable:
        self.used.append(headers["Authorization"])
        return Unable("") if headers["Authorization"] == "Bearer 2" else Ended("")


class Ended(Unable):
    async def call(self, *_: Any, **__: Any) -> Reply:
        return Reply(401)


def test_a_token_that_has_ended_is_renewed_once() -> None:
    tokens = Tokens()

    async def made() -> list[int]:
        caller = Renewed(cast("EntraCredentials", tokens), Outgoing(), tokens.calls)
        replies = [await caller.call(CHAT, b"{}", ID, 1.0) for _ in range(2)]
        await caller.close()
        return [each.status for each in replies]

    assert asyncio.run(made()) == [403, 403]
    assert tokens.used == ["Bearer 1", "Bearer 2"]


def test_what_litellm_calls_runs_as_chat_and_comes_back_as_it_was_asked() -> None:
    made = translated("deepseek", {"model": "m", "input": "hi", "store": True}, Target("other"), "/v1/responses")
    line = json.loads(made.data)
    assert (line["url"], line["body"]["model"]) == (CHAT, "other")
    assert line["body"]["messages"] == [{"role": "user", "content": "hi"}]
    assert not line["body"].keys() & lane.LITELLMS
    with pytest.raises(LineRejected, match="previous_response_id"):
        translated("deepseek", {"model": "m", "input": "hi", "previous_response_id": "r"}, url="/v1/responses")
    message = {"role": "assistant", "content": "ho"}
    body = {
        "id": "c",
        "model": "m",
        "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    body["usage"] = {"prompt_tokens": 3, "completion_tokens": 2}
    row = json.dumps({"custom_id": ID, "response": {"status_code": 200, "body": body}, "error": None}).encode()
    for endpoint, kind in (("/v1/responses", "response"), ("/v1/completions", "text_completion")):
        found = direct("deepseek").row(row, "answers.jsonl", endpoint)
        assert found is not None
        assert found.response is not None
        assert json.loads(found.response)["body"]["object"] == kind
        assert found.usage == Usage(input_tokens=3, output_tokens=2)
