"""Calls through litellm, for providers whose API is not OpenAI's. Imported in workers that make calls, nowhere else.

litellm obeys what it finds in a request: `api_base`, `fallbacks` or `mock_response` of a body. So only parameters of
OpenAI's API go to it as such, and a few known ones. What else a body has goes unread into the request of a provider
that speaks OpenAI's API (`extra_body`); elsewhere the line is refused. Facts: litellm 1.110.2, `main.py`,
`exceptions.py`, `litellm_core_utils/exception_mapping_utils.py`, `llms/custom_httpx/aiohttp_transport.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply, Stream
from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.http.complaints import read_complaint

KEPT = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|PYTHON\w*|SSL_CERT_(FILE|DIR)|PROXY_PLUGIN_\w+")  # of variables
QUIET = {  # without these it reads a .env file, and asks its own host for prices and headers as it is imported
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
}
OFF = {  # its own settings: nothing is told to anybody, kept, changed or tried again
    **dict.fromkeys(("telemetry", "drop_params", "modify_params", "turn_on_debug"), False),
    **dict.fromkeys(("cache", "num_retries", "num_retries_per_request", "default_fallbacks"), None),
    **dict.fromkeys(("suppress_debug_info", "turn_off_message_logging", "disable_token_counter"), True),
    **dict.fromkeys(("disable_hf_tokenizer_download", "user_url_validation", "disable_end_user_cost_tracking"), True),
}
LISTS = (
    *("callbacks", "success_callback", "failure_callback", "input_callback", "service_callback"),
    *("_async_success_callback", "_async_failure_callback", "_async_input_callback"),
)
BASES = ("api_base", "aws_bedrock_runtime_endpoint")  # what may be a host of the account's own
# What its `Logging` does behind every call, callbacks or none: prices, payloads, and for some providers one more call,
# which blocks the event loop (`llms/ollama/common_utils.py`, `get_runtime_model_info`).
HANDLERS = ("async_success_handler", "async_failure_handler")
HANDLED = (
    *("success_handler", "failure_handler"),
    *("handle_sync_success_callbacks_for_async_calls", "_response_cost_calculator"),
)
STREAMING = ("stream", "stream_options")
PRIVATE = frozenset({"provider_specific_fields", "_hidden_params", "_response_ms"})
UNREACHED = frozenset(  # what says for sure that no connection was made; httpx's own words cover more than that
    {f"httpcore.{name}" for name in ("ConnectError", "ConnectTimeout", "PoolTimeout")}
    | {f"aiohttp.ClientConnector{name}Error" for name in ("", "DNS", "SSL", "Certificate")}
    | {"aiohttp.ConnectionTimeoutError", "aiohttp.ClientProxyConnectionError"}
)
_PREFIX = re.compile(r"^(litellm\.\w+: )+(\w+(Exception|Error)( - |: ))?")
_TYPE = "invalid_request_error"


class Call(NamedTuple):
    """One endpoint: litellm's function, and the parameters that it may have."""

    function: str
    known: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALLS = {
    "/v1/chat/completions": Call(
        "acompletion",
        _words(
            "messages functions function_call temperature top_p n stop max_tokens max_completion_tokens modalities "
            "prediction audio presence_penalty frequency_penalty logit_bias user response_format seed tools "
            "tool_choice parallel_tool_calls logprobs top_logprobs reasoning_effort verbosity safety_identifier "
            "service_tier prompt_cache_key thinking web_search_options top_k min_p repetition_penalty"
        ),
    ),
    "/v1/embeddings": Call("aembedding", _words("input dimensions encoding_format user")),
    "/v1/images/generations": Call("aimage_generation", _words("prompt n size quality style response_format user")),
    "/v1/rerank": Call("arerank", _words("query documents top_n rank_fields return_documents max_chunks_per_doc")),
}


class LitellmCaller:
    """Calls one account of a provider. `told` is what litellm is told of it, under litellm's names."""

    def __init__(self, provider: str, told: Mapping[str, Any], outgoing: Outgoing) -> None:
        self._provider, self._told = provider, dict(told)
        headers = {**outgoing.headers, **self._told.pop("extra_headers", {})}
        self._told |= {"extra_headers": headers} if headers else {}
        self._echoes = Echoes(str(value) for name, value in told.items() if name not in {"extra_headers", "api_base"})
        self._may_reach, base = (
            outgoing.may_reach,
            next((self._told[name] for name in BASES if name in self._told), None),
        )
        self._base = urlsplit(base) if isinstance(base, str) else None
        self._litellm = loaded(outgoing.proxy, outgoing.ca_bundle)
        self._speaks_openai = provider in {*self._litellm.openai_compatible_providers, "openrouter", "hosted_vllm"}

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:  # noqa: ARG002
        """Make the call. What litellm raises becomes the provider's answer, where it is one."""
        answer = await self._answered(endpoint, body, timeout)
        if isinstance(answer, Reply):
            return answer
        headers = _headers_of(answer)
        return Reply(200, headers, written(answer), _id_of(headers))

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Stream | Reply:  # noqa: ARG002
        """Make a call of chat; each chunk that litellm gives becomes one of OpenAI's events."""
        answer = await self._answered(endpoint, body, timeout)
        if isinstance(answer, Reply):
            return answer
        chunks = aiter(answer)
        try:
            async with asyncio.timeout(timeout):
                first = await anext(chunks, None)
        except TimeoutError:
            raise Lost("TimeoutError") from None
        except Exception as error:  # noqa: BLE001 - as below
            return self._failed(error)
        return Stream(_events(first, chunks, timeout), getattr(answer, "aclose", _nothing), _headers_of(answer))

    async def _answered(self, endpoint: str, body: bytes, timeout: float) -> Any:
        """Return litellm's answer, or a refusal. Raises NotSent, Lost."""
        call = CALLS[endpoint]
        try:
            given = json.loads(body)
            asked, odd = self._asked(call, given, timeout)
        except (ValueError, RecursionError, AttributeError):
            return self._refusal(400, "body is no JSON object", "invalid_type", "body")
        if not await self._may_be_reached():
            raise NotSent("the host of the account may not be called")
        if odd:
            return self._refusal(400, f"litellm takes no {odd}; leave it out", "unsupported_parameter", f"body.{odd}")
        try:
            async with asyncio.timeout(timeout):
                return await getattr(self._litellm, call.function)(**asked)
        except TimeoutError:
            raise Lost("TimeoutError") from None
        except Exception as error:  # noqa: BLE001 - litellm has no class that all of its errors are of
            return self._failed(error)

    async def close(self) -> None:
        """Close the connections that litellm keeps for the process; the next caller has an event loop of its own."""
        await self._litellm.close_litellm_async_clients()
        self._litellm.in_memory_llm_clients_cache.flush_cache()

    async def _may_be_reached(self) -> bool:
        """Tell whether a host of the account's own is one that may be called. litellm looks it up once more."""
        if self._may_reach is None or self._base is None or not self._base.hostname:
            return True
        host, port = self._base.hostname, self._base.port or (443 if self._base.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(self._may_reach(host, port, str(address[0])) for *_, address in found)

    def _asked(self, call: Call, given: dict[str, Any], timeout: float) -> tuple[dict[str, Any], str]:
        """Return litellm's arguments, and a parameter that may not be among them."""
        model, drop = given.pop("model", ""), given.pop("drop_params", False)
        streaming = {name: given.pop(name) for name in STREAMING if given.get(name)}
        known = {name: value for name, value in given.items() if name in call.known and value is not None}
        others = {name: value for name, value in given.items() if name not in call.known}
        odd = next(iter(others), "") if not self._speaks_openai else ""
        more = {"extra_body": others} if others else {}
        own = {"timeout": timeout, "num_retries": 0, "drop_params": drop is True, "no-log": True}
        # With the name in front no other provider is read from the model, whatever it begins with.
        named = {"model": f"{self._provider}/{model}", "custom_llm_provider": self._provider}
        return {**known, **more, **self._told, **own, **named, **streaming}, odd

    def _failed(self, error: Exception) -> Reply:
        """Return the provider's refusal. Raises NotSent, or Lost wherever it may have answered.

        A 5xx is only believed with the answer itself at hand: litellm says the same of one that it cannot read.
        """
        chain = list(_chain(error))
        response = getattr(error, "response", None)
        headers = {name.lower(): str(value) for name, value in _raw_headers(error, response).items()}
        status = getattr(error, "status_code", None)
        refused = isinstance(status, int) and 400 <= status <= 499 and type(error).__name__ != "Timeout"
        if not refused and any(_kind(each) in UNREACHED for each in chain):
            raise NotSent(type(chain[-1]).__name__)
        if not refused and not any(_is_answer(each) for each in chain):
            raise Lost(type(error).__name__)
        code, words, param = _said(error, response)
        return self._refusal(status if isinstance(status, int) else 500, words, code, param, headers)

    def _refusal(
        self, status: int, words: str, code: str | None, param: str | None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        error = {"message": words, "type": _TYPE if status < 500 else "server_error", "param": param, "code": code}
        body = self._echoes.hide(json.dumps({"error": error}).encode())
        return Reply(status, headers or {}, body, _id_of(headers or {}))


@cache
def loaded(proxy: str | None, ca_bundle: str | None) -> Any:
    """Import litellm, once a process: without the environment, and with all of its own doings off."""
    if "litellm" not in sys.modules:
        for name in [each for each in os.environ if not KEPT.fullmatch(each)]:
            del os.environ[name]
        os.environ |= QUIET
    os.environ |= {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy} if proxy else {}
    import litellm  # noqa: PLC0415 - it takes seconds and 190 MB

    for name, value in OFF.items():
        setattr(litellm, name, value)
    for name in LISTS:
        setattr(litellm, name, [])
    _silence(litellm)
    # Its `max_retries` of 0 counts as none in places (`llms/openai/openai.py`), and OpenAI's client then tries thrice;
    # in others it goes to the provider (Hugging Face).
    litellm.openai._models.FinalRequestOptions.get_max_retries = lambda *_: 0  # noqa: SLF001
    litellm.aiohttp_trust_env = bool(proxy)
    if ca_bundle:
        litellm.ssl_verify = ca_bundle
    return litellm


def _silence(litellm: Any) -> None:
    async def nothing(*_: object, **__: object) -> None:
        """Leave the call unlogged."""

    logging = litellm.litellm_core_utils.litellm_logging.Logging
    for name in HANDLERS:
        setattr(logging, name, nothing)
    for name in HANDLED:
        setattr(logging, name, lambda *_, **__: None)


def written(answer: Any) -> bytes:
    """Return an answer as OpenAI's JSON, without what litellm keeps in it for itself."""
    made = _without(answer.model_dump(mode="json", exclude_none=True) if hasattr(answer, "model_dump") else answer)
    for choice in made.get("choices", ()) if isinstance(made, dict) else ():
        if isinstance(choice.get("message"), dict):
            choice["message"].setdefault("content", None)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


async def _events(first: Any, chunks: AsyncIterator[Any], silence: float) -> AsyncIterator[bytes]:
    """Yield chunks as OpenAI's events, to the last one. Raises Lost where the answer breaks off."""
    chunk = first
    while chunk is not None:
        yield b"data: %b\n\n" % _chunk(chunk)
        try:
            async with asyncio.timeout(silence):
                chunk = await anext(chunks, None)
        except Exception as error:  # noqa: BLE001 - litellm has no class that all of its errors are of
            raise Lost(type(error).__name__) from None
    yield b"data: [DONE]\n\n"


def _chunk(chunk: Any) -> bytes:
    made = _without(chunk.model_dump(mode="json", exclude_none=True))
    for choice in made.get("choices", ()):
        choice.setdefault("finish_reason", None)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


async def _nothing() -> None:
    """Close nothing."""


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items() if name not in PRIVATE}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [_without(each) for each in value]
    return value


def _headers_of(answer: Any) -> dict[str, str]:
    hidden = getattr(answer, "_hidden_params", None)
    found = (hidden.get("additional_headers") if isinstance(hidden, dict) else None) or {}
    return {name.removeprefix("llm_provider-").lower(): str(value) for name, value in found.items()}


def _raw_headers(error: Exception, response: Any) -> Mapping[str, Any]:
    return getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None) or {}


def _id_of(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in ("x-request-id", "request-id") if name in headers), "")


def _said(error: Exception, response: Any) -> tuple[str | None, str, str | None]:
    """Return code, words and parameter: of the provider's own answer, or else of what litellm says."""
    content = getattr(response, "content", b"")
    if content:
        code, words, param = read_complaint(content)
        if words:
            return code, words[:2000], param
    text = getattr(error, "message", "") or str(error)
    with suppress(ValueError):  # litellm puts words of its own around the provider's
        body, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        code, words, param = read_complaint(json.dumps(body).encode())
        if words:
            return code, words[:2000], param
    return None, _PREFIX.sub("", text)[:2000], None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_answer(error: BaseException) -> bool:
    """Tell whether an error is one of HTTP itself: litellm's own have their names from openai's package, too."""
    kind = _kind(error)
    return kind.endswith("HTTPStatusError") or (kind.startswith("openai.") and hasattr(error, "status_code"))


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
