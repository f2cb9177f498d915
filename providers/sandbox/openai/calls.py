"""Ordinary calls of the OpenAI stand-in: one body, one answer.

Written from the published OpenAPI description (openai/openai-openapi, 2026-08-21; the members of each body) and the
guide "Rate limits" (developers.openai.com/api/docs/guides/rate-limits, copy of 2026-08: headers). A call is in the
request log with its time and, as its `id`, the last user text: that is how a witness tells lines apart.
"""

import asyncio
import json
import math
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.answers import UnknownMarker, markers, user_text
from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.openai.bodies import error_body, response_body
from proxy_plugin.providers.sandbox.openai.checks import (
    error_reply,
    missing_parameter,
    refused,
    unknown_parameter,
)
from proxy_plugin.providers.sandbox.openai.options import Settings
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

LONGEST_BODY = 32 * 2**20
TOLD = 64  # characters of a text in the log
MINUTE = 60.0
_COMMON = {"model", "user", "metadata", "safety_identifier", "prompt_cache_key"}
_SAMPLED = {"temperature", "top_p", "stream", "service_tier", "store"}
_CHAT = (
    "messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens"
    " modalities n parallel_tool_calls prediction presence_penalty prompt_cache_retention reasoning_effort"
    " response_format seed stop stream_options tool_choice tools top_logprobs verbosity web_search_options"
)
_RESPONSES = (
    "input background context_management conversation include instructions max_output_tokens max_tool_calls"
    " parallel_tool_calls previous_response_id prompt prompt_cache_retention reasoning stream_options text tool_choice"
    " tools top_logprobs truncation"
)
_COMPLETIONS = (
    "prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream_options"
    " suffix"
)
_IMAGES = "prompt background moderation n output_compression output_format partial_images quality size style"
BODIES: Mapping[str, tuple[str, frozenset[str]]] = {  # what a body must have beside its model, and may have
    "/v1/chat/completions": ("messages", frozenset(_CHAT.split()) | _COMMON | _SAMPLED),
    "/v1/responses": ("input", frozenset(_RESPONSES.split()) | _COMMON | _SAMPLED),
    "/v1/completions": ("prompt", frozenset(_COMPLETIONS.split()) | _COMMON | _SAMPLED),
    "/v1/embeddings": ("input", frozenset({"model", "input", "dimensions", "encoding_format", "user"})),
    "/v1/moderations": ("input", frozenset({"model", "input"})),
    "/v1/images/generations": ("prompt", frozenset(_IMAGES.split()) | {"model", "user", "stream", "response_format"}),
}
_NO_MODEL = frozenset({"/v1/moderations", "/v1/images/generations"})  # have one of their own


class Calls:
    """The routes, and how many calls each account has made in the last minute."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services, self._settings = services, settings
        self._made: dict[str, deque[float]] = {}

    def routes(self) -> list[Route]:
        return [self._route(endpoint) for endpoint in BODIES]

    def reset(self) -> None:
        self._made.clear()

    def _route(self, endpoint: str) -> Route:
        path = endpoint.removeprefix("/v1")

        async def prepare(request: web.Request, account: str) -> Act:
            limits = self._limited(account)
            body = checked(endpoint, await _read(request))
            return lambda: self._answer(endpoint, body, limits)

        return Route("POST", path, f"call{path.replace('/', '.')}", prepare)

    def _limited(self, account: str) -> dict[str, str]:
        """Count a call and return the headers that tell of it. Raises Refused for one too many."""
        most = self._settings.current.requests_per_minute
        if most is None:
            return {}
        made, now = self._made.setdefault(account, deque()), self._services.clock.now()
        while made and made[0] <= now - MINUTE:
            made.popleft()
        free_in = made[0] + MINUTE - now if made else 0.0
        told = {"x-ratelimit-limit-requests": str(most), "x-ratelimit-reset-requests": f"{free_in:.3f}s"}
        if len(made) >= most:
            told |= {"x-ratelimit-remaining-requests": "0", "retry-after": str(math.ceil(free_in))}
            reply = error_reply(429, f"Rate limit reached: limit {most}, used {len(made)}.", headers=told)
            raise Refused(reply)
        made.append(now)
        return told | {"x-ratelimit-remaining-requests": str(most - len(made))}

    async def _answer(self, endpoint: str, body: dict[str, Any], limits: dict[str, str]) -> Reply:
        current = self._settings.current
        if current.delay_seconds:
            await asyncio.sleep(current.delay_seconds)
        text = user_text(endpoint, body)
        try:
            status = int(markers(text).get("error", 200))
        except UnknownMarker as wrong:
            raise refused(400, f"The sandbox knows no marker {wrong}.", "unknown_sandbox_marker") from None
        if not 200 <= status <= 299:
            failure = error_body(status, f"The line asked the sandbox for an error {status}.")
            return json_reply(failure, status or 500, limits, subject=text[:TOLD])
        made, _, _ = response_body(
            endpoint,
            body,
            identity=secrets.token_hex(12),
            created=int(self._services.clock.now()),
            style=current.answers,
        )
        return json_reply(made, 200, limits, subject=text[:TOLD])


def checked(endpoint: str, data: bytes) -> dict[str, Any]:
    """The body of a call. Raises Refused, in the service's words, for what it would not take."""
    try:
        body = json.loads(data)
    except ValueError:
        raise refused(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise refused(400, "The body must be a JSON object.", "invalid_type")
    needed, known = BODIES[endpoint]
    for name in body:
        if name not in known:
            raise unknown_parameter(name)
    for name in (needed,) if endpoint in _NO_MODEL else ("model", needed):
        if name not in body:
            raise missing_parameter(name)
    if "model" in body and (not isinstance(body["model"], str) or not body["model"]):
        raise refused(400, "Invalid type for 'model': expected a string.", "invalid_type", "model")
    if body.get("stream"):
        raise refused(400, "This stand-in does not stream.", "unsupported_value", "stream")
    given = body[needed]
    talk = isinstance(given, list) and given and all(isinstance(each, dict) for each in given)
    if needed == "messages" and not talk:
        raise refused(400, "Invalid 'messages': expected a list of messages.", "invalid_type", "messages")
    if given is None or given in ("", []):
        raise refused(400, f"Invalid '{needed}': it is empty.", "invalid_value", needed)
    return body


async def _read(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise refused(415, "Unsupported content type. This API only accepts 'application/json' requests.")
    pieces, size = list[bytes](), 0
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > LONGEST_BODY:
            raise refused(413, "The body is too long.")
        pieces.append(piece)
    return b"".join(pieces)
