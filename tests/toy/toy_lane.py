"""The toy lane: an adapter from outside this tree, for a service of our own invention (`toy_service`).

It differs from OpenAI wherever the contract allows: the whole job is one JSON document sent inline, results are JSON
arrays in any order, labels are reserved before they are used, long answers run in a queue of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Credentials,
    Framing,
    InputMode,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    LineRejected,
    Native,
    OutcomeUnknown,
    PartFile,
    Refused,
    Row,
    Short,
    Sighting,
    Submission,
    Target,
    TryLater,
    Usage,
)
from proxy_plugin.providers.calls import ask_to_cancel, known
from proxy_plugin.providers.direct.ways import Way
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.listing import identifier

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
CLOTH = "cloth.rows"
LONG_ANSWER = 1000  # tokens; more than that must go to the queue "long"

_KNOWN = {CHAT: {"model", "messages", "max_tokens"}, EMBEDDINGS: {"model", "input"}}
_PHASES = {
    "weaving": (JobState.RUNNING, None),
    "halting": (JobState.CANCELLING, None),
    "woven": (JobState.ENDED, JobEnd.COMPLETED),
    "halted": (JobState.ENDED, JobEnd.CANCELLED),
    "spoilt": (JobState.FAILED, None),
}
_NOT_RUN = {
    "halted": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "late": ("batch_expired", "This request could not be executed before the completion window expired."),
    "stuck": ("request_timeout", "This request took too long."),
}


class ToyCredentials(KeyCredentials):
    """One key opens one account."""


CAPABILITIES = Capabilities(
    provider="toy",
    title="Toy Looms",
    endpoints=frozenset({CHAT, EMBEDDINGS}),
    input_mode=InputMode.INLINE,
    default_host="http://127.0.0.1:9",
    framing=Framing(b'{"cards":[', b",", b"]}"),
    max_lines=7,
    max_bytes=65_536,
    max_line_bytes=32_768,
    max_inputs=20,
    accepts_label=True,
    min_poll_seconds=0.05,
    settle_seconds=1.0,
    results_kept_seconds=3600.0,
    caveats=("it is a toy",),
)


class ToyLane:
    """See `proxy_plugin.providers.base.BatchProvider`."""

    credentials: type[Credentials] = ToyCredentials
    calls = Way()  # whoever weaves also answers OpenAI's calls

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities

    def account_key(self, credentials: Credentials) -> str:
        return f"{_host(credentials)} {key_of(credentials)}"

    def translate(self, line: LineIn, target: Target) -> Native:
        body = _body(line)
        unknown = sorted(body.keys() - _KNOWN[line.endpoint])
        if unknown and not target.drop_params:
            message = f"body.{unknown[0]} means nothing to Toy Looms; leave it out or allow drop_params."
            raise LineRejected(message, param=f"body.{unknown[0]}")
        card: dict[str, Any] = {"tag": line.native_id, "engine": target.model or line.model}
        card |= _say(body) if line.endpoint == CHAT else _embed(body)
        inputs = len(card["embed"]) if "embed" in card else 1
        partition = "long" if card.get("most", 0) > LONG_ANSWER else ""
        return Native(json.dumps(card).encode(), inputs, partition, tuple(unknown))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:  # noqa: ARG002 - there is one kind of file
        if not line.strip():
            return None
        read = json.loads(line)
        match read:
            case [str(tag), "woven", {"engine": str(engine), "read": int(given), "wrote": int(made), **woven}]:
                usage = Usage(input_tokens=given, output_tokens=made)
                return Row(
                    tag, True, _response(200, tag, _answer(tag, engine, woven, usage)), None, None, engine, usage
                )
            case [str(tag), "torn", {"status": int(status), "why": str(why)}]:
                error = {"message": why, "type": "invalid_request_error", "param": None, "code": "torn"}
                return Row(tag, False, response=_response(status, tag, {"error": error}), code=str(status))
            case [str(tag), ("halted" | "late" | "stuck") as what, None]:
                code, message = _NOT_RUN[what]
                return Row(tag, False, error=json.dumps({"code": code, "message": message}).encode(), code=code)
        raise ValueError("a row of a shape that Toy Looms does not make")

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:  # noqa: ARG002
        await ask(account, "PUT", f"labels/{part.mark}")  # a label that is reserved twice is reserved once
        return {"label": part.mark}

    async def fence(self, account: Account) -> str | None:
        looms = (await ask(account, "GET", "looms"))["looms"]
        return identifier(looms[0], "loom") if looms else None

    async def create(self, account: Account, submission: Submission) -> str:
        document = await asyncio.to_thread(submission.part.path.read_bytes)  # 64 KiB at most
        query = {"label": submission.staged["label"], "queue": submission.part.partition}
        return str((await ask(account, "POST", "looms", query, document))["loom"])

    async def find(self, account: Account, submission: Submission) -> Sighting:
        query = {"label": submission.staged["label"]}
        if submission.fence is not None:
            query["newer_than"] = submission.fence
        seen = await ask(account, "GET", "looms", query)
        return Sighting(tuple(str(loom["loom"]) for loom in seen["looms"]), control=bool(seen["reserved"]))

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:  # noqa: ARG002
        path = f"looms/{job}"
        loom = await known(ask(account, "GET", path), path)
        state, end = _phase(loom)
        spoilt = loom.get("spoilt") or {}
        return JobStatus(
            state,
            mark=loom["label"],
            end=end,
            completed=loom["woven"],
            failed=loom["torn"],
            results={"rows": str(loom["rows"])} if state is JobState.ENDED else {},
            refusal=Refused(spoilt["text"], code=spoilt["kind"]) if spoilt else None,
            retryable=bool(spoilt.get("again")),
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:
        cloth: bytes = await ask(account, "GET", f"looms/{job}/cloth", read=_bytes)
        if cloth.count(b"\n") != int(status.results["rows"]) and not status.last:
            raise Short("the cloth has fewer rows than the loom has counted")
        await asyncio.to_thread(_store, folder, cloth)
        return (CLOTH,)

    async def cancel(self, account: Account, job: str) -> None:
        async def look() -> JobState:
            return _phase(await ask(account, "GET", f"looms/{job}"))[0]

        await ask_to_cancel(ask(account, "POST", f"looms/{job}/halt"), look)


TOY = ToyLane(CAPABILITIES)
TOY_SINGLE = ToyLane(replace(CAPABILITIES, provider="toy-single", title="Single Toys", one_model_per_job=True))


def _phase(loom: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    if loom["phase"] not in _PHASES:
        raise TryLater("Toy Looms names a phase that is not known")
    return _PHASES[loom["phase"]]


def _body(line: LineIn) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(line.body)
    return body


def _say(body: Mapping[str, Any]) -> dict[str, Any]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(map(_is_text, messages)):
        message = "Toy Looms takes text alone; give every one of body.messages a string as content."
        raise LineRejected(message, param="body.messages")
    card: dict[str, Any] = {"say": [[each.get("role"), each["content"]] for each in messages]}
    return card | ({"most": body["max_tokens"]} if "max_tokens" in body else {})


def _is_text(message: object) -> bool:
    return isinstance(message, dict) and isinstance(message.get("content"), str)


def _embed(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(each, str) for each in texts):
        raise LineRejected("Toy Looms embeds texts alone; give body.input a string or strings.", param="body.input")
    return {"embed": texts}


def _response(status: int, tag: str, body: Mapping[str, Any]) -> bytes:
    return json.dumps({"status_code": status, "request_id": f"thread-{tag}", "body": body}).encode()


def _answer(tag: str, engine: str, woven: Mapping[Any, Any], usage: Usage) -> dict[str, Any]:
    tokens = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens + usage.output_tokens}
    if "vectors" in woven:
        data = [{"object": "embedding", "index": n, "embedding": each} for n, each in enumerate(woven["vectors"])]
        return {"object": "list", "data": data, "model": engine, "usage": tokens}
    message = {"role": "assistant", "content": woven["text"]}
    return {
        "id": f"toy-{tag}",
        "object": "chat.completion",
        "created": 0,
        "model": engine,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": tokens | {"completion_tokens": usage.output_tokens},
    }


def _host(credentials: Credentials) -> str:
    return (credentials.custom_host or CAPABILITIES.default_host).rstrip("/")


async def _json(response: aiohttp.ClientResponse) -> Any:
    return await response.json()


async def _bytes(response: aiohttp.ClientResponse) -> Any:
    return await response.read()


async def ask(
    account: Account,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    document: bytes | None = None,
    read: Any = _json,
) -> Any:
    """Make one call on a connection of its own. Only a call with a document can leave its outcome unknown."""
    doubt = TryLater if document is None else OutcomeUnknown
    url = f"{_host(account.credentials)}/{path}"
    headers = {"x-loom-key": key_of(account.credentials), "content-type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.request(
                method, url, params=query, data=document, headers=headers, allow_redirects=False
            ) as response,
        ):
            if response.status >= 300:
                raise await _refusal(response, doubt)
            return await read(response)
    except aiohttp.ClientConnectorError:
        raise TryLater("Toy Looms cannot be reached") from None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        raise doubt("no readable answer came from Toy Looms") from None


async def _refusal(
    response: aiohttp.ClientResponse, doubt: type[TryLater] | type[OutcomeUnknown]
) -> TryLater | OutcomeUnknown | Refused:
    if response.status >= 500:
        return doubt(f"Toy Looms answered HTTP {response.status}")
    fault = (await response.json())["fault"]
    if response.status == 429:
        return TryLater("Toy Looms asks to wait", after=float(fault["again_in"]), status=429)
    return Refused(fault["text"], code=fault["kind"], status=response.status)


def _store(folder: Path, cloth: bytes) -> None:
    with (folder / CLOTH).open("wb") as stream:
        stream.write(cloth)
        stream.flush()
        os.fsync(stream.fileno())
    names = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(names)
    finally:
        os.close(names)
