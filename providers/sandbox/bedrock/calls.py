"""Ordinary calls of Bedrock's stand-in: Converse of the models that talk, InvokeModel with a model's own body.

Source: botocore 1.44.8, service model `bedrock-runtime` 2023-09-30: paths, members, bounds, required ones and errors.
That roles take turns and the user begins: the project's reference page of Bedrock, section 9. In no document, so a
guess: the words of the refusals. A call is in the request log; its `id` is the beginning of the last user text.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.answers import UnknownMarker, markers, user_text
from proxy_plugin.providers.sandbox.bedrock.lines import MESSAGES, Records, Refusal, conversed
from proxy_plugin.providers.sandbox.dialect import Act, Route
from proxy_plugin.providers.sandbox.kit.jobs import Options
from proxy_plugin.providers.sandbox.kit.lines import JSON
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

TOLD = 64  # characters of a text in the log
_CONVERSE = (
    "messages system inferenceConfig toolConfig guardrailConfig additionalModelRequestFields promptVariables"
    " additionalModelResponseFieldPaths requestMetadata performanceConfig serviceTier outputConfig"
)
_BLOCKS = (
    "text image document video audio toolUse toolResult guardContent cachePoint reasoningContent citationsContent"
    " searchResult toolAddition toolRemoval"
)
_SYSTEM, _TOOLS, _CHOICES = "text guardContent cachePoint", "toolSpec systemTool cachePoint", "auto any tool"
_BOUNDS = {"maxTokens": (1, 2**31), "temperature": (0, 1), "topP": (0, 1)}  # of inferenceConfig
_MOST_STOPS = 2500
_OWN = {"anthropic": ("anthropic_version", "max_tokens", "messages"), "titan-embed": ("inputText",)}  # by the model
_ERRORS = {408: "ModelTimeoutException", 424: "ModelErrorException", 503: "ServiceUnavailableException"}
ReadBody = Callable[[web.Request, Collection[str] | None], Awaitable[dict[str, Any]]]


class Calls:
    """The routes. `read` is the wire's: a body of these members, whose signature is that of what came."""

    def __init__(self, read: ReadBody, refused: Callable[..., Refused], current: Callable[[], Options]) -> None:
        self._read, self._refused, self._current = read, refused, current
        self._form = Records()

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/model/{model}/converse", "call.converse", self._converse),
            Route("POST", "/model/{model}/invoke", "call.invoke", self._invoke),
        ]

    async def _converse(self, request: web.Request, account: str) -> Act:  # noqa: ARG002
        self._known_model(request)
        body = await self._read(request, _CONVERSE.split())
        if wrong := _wrong(body):
            raise self._refused(400, wrong)
        asked = {**body, **_as_messages(body.get("toolConfig"))}
        return self._act(MESSAGES, asked, lambda style: conversed(asked, secrets.token_hex(11), style))

    async def _invoke(self, request: web.Request, account: str) -> Act:  # noqa: ARG002
        model = self._known_model(request)
        given = await self._read(request, None)
        needed = next((names for part, names in _OWN.items() if part in model), ())
        if missing := next((name for name in needed if name not in given), ""):
            raise self._refused(400, f"Malformed input request: #: required key [{missing}] not found")
        endpoint, body = self._form.asked({"modelInput": given}, {"modelId": model})
        return self._act(
            endpoint, body, lambda style: self._form.answer(endpoint, body, secrets.token_hex(11), 0, style)
        )

    def _known_model(self, request: web.Request) -> str:
        if request.content_type != "application/json":
            raise self._refused(415, "The content type must be application/json", "SerializationException")
        model = request.match_info["model"]
        if model == "no-such-model" or model in self._current().unknown_models:
            raise self._refused(400, "The provided model identifier is invalid.")
        return model

    def _act(self, endpoint: str, body: JSON, answer: Callable[[Any], JSON]) -> Act:
        async def act() -> Reply:
            said = user_text(endpoint, body)
            try:
                reply = self._answered(said, answer)
            except Refused as refused:
                reply = refused.reply
            return replace(reply, subject=said[:TOLD])

        return act

    def _answered(self, said: str, answer: Callable[[Any], JSON]) -> Reply:
        style = self._current().answers
        try:
            status = int(markers(said, style).get("error", 200))
        except UnknownMarker as wrong:
            raise self._refused(400, f"The sandbox knows no marker {wrong}.") from None
        if not 200 <= status <= 299:
            words = f"The line asked the sandbox for an error {status}."
            raise self._refused(status or 500, words, _ERRORS.get(status))
        made = answer(style)
        if isinstance(made, Refusal):
            raise self._refused(400, made.words)
        return json_reply(made)


def _wrong(body: JSON) -> str:
    """What the service says of a body that it does not take, "" where it is one."""
    turns, config, tools = body.get("messages"), body.get("inferenceConfig", {}), body.get("toolConfig")
    if not isinstance(turns, list) or not turns:
        return "The value at messages is empty."
    for n, turn in enumerate(turns):
        whole = isinstance(turn, dict) and set(turn) == {"role", "content"}
        if not whole or not turn["content"] or not _unions(turn["content"], _BLOCKS):
            return f"messages.{n}: a message has a role and a content, a list of blocks with one known member each"
        if turn["role"] != ("user", "assistant")[n % 2]:
            return "A conversation must start with a user message, and roles must alternate."
    if not _unions(body.get("system", []), _SYSTEM):
        return "system: a list of blocks with one known member each"
    if not isinstance(config, dict) or not all(_fits(name, value) for name, value in config.items()):
        return "inferenceConfig: an unknown member, or a value out of its bounds"
    return "" if tools is None or _offers(tools) else "toolConfig: tools with a name and a schema, and a toolChoice"


def _fits(name: str, value: Any) -> bool:
    if name == "stopSequences":
        texts = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
        return texts and len(value) <= _MOST_STOPS
    least, most = _BOUNDS.get(name, (1, 0))
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _offers(config: Any) -> bool:
    if not isinstance(config, dict) or set(config) - {"tools", "toolChoice"} or not config.get("tools"):
        return False
    choice = [config.get("toolChoice", {"auto": {}})]
    return _unions(config["tools"], _TOOLS) and _unions(choice, _CHOICES) and all(map(_described, _specs(config)))


def _described(spec: Any) -> bool:
    return isinstance(spec, dict) and bool(spec.get("name")) and _unions([spec.get("inputSchema")], "json")


def _specs(config: JSON) -> list[Any]:
    return [each["toolSpec"] for each in config["tools"] if "toolSpec" in each]


def _unions(given: Any, members: str) -> bool:
    """Whether a list has nothing but unions: each one of these members."""
    known = set(members.split())
    return isinstance(given, list) and all(
        isinstance(each, dict) and len(each) == 1 and known >= set(each) for each in given
    )


def _as_messages(config: JSON | None) -> JSON:
    """Tools as a Messages body has them, by which the sandbox's models answer."""
    if not config:
        return {}
    tools = [{"name": spec["name"], "input_schema": spec["inputSchema"]["json"]} for spec in _specs(config)]
    ((kind, choice),) = config.get("toolChoice", {"auto": {}}).items()
    return {"tools": tools, "tool_choice": {"type": kind, **choice}}
