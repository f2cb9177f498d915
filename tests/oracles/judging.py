"""One format before its judges: what is compared, with whom, and what may differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.shapes import Answer, Translated
from tests.oracles.lines import bodies, encoded
from tests.oracles.meaning import REFUSED, Json, Known, Pair, Tally
from tests.oracles.sdk_types import completion_complaints
from tests.oracles.told import untold

SEED = 20261121
# Noted under every switch, because no setting would change the answer: name, and why.
NOTED = {"tools": "the choice forbids them: without them none is called either"}


class Translate(Protocol):
    """`to_<native>` of a format."""

    def __call__(
        self, body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False
    ) -> Translated: ...


class Other(Protocol):
    """Whoever translates the same lines. What it refuses is `{REFUSED: why}`."""

    def request(self, body: Json, model: str) -> Json: ...

    def answer(self, native: bytes, model: str) -> Json: ...


def said(completion: Json) -> Json:
    """Return what a caller reads from a chat.completion."""
    usage = completion.get("usage") or {}
    return {
        "model": completion.get("model"),
        "choices": [_choice(each) for each in completion["choices"]],
        "usage": {
            "prompt": usage.get("prompt_tokens"),
            "completion": usage.get("completion_tokens"),
            "total": usage.get("total_tokens"),
            "cached": (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            "reasoning": (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        },
    }


@dataclass(frozen=True, slots=True)
class Judged:
    """A format. `canonical` takes away what is spelled differently and means the same, on both sides.

    `complaints` and `answer_complaints` are those of the official SDKs' types. `lines` and `results` yield bodies and
    native answers from a seed, `said` is what a caller reads from an answer, with its token counts under `usage`.
    """

    name: str
    models: tuple[str, ...]
    translate: Translate
    peer: Other
    canonical: Callable[[Json], Json]
    complaints: Callable[[Json], list[str]]
    requests: tuple[Known, ...]
    results: Callable[[int, int], Iterator[Json]]
    answer: Callable[[bytes], Answer]
    answers: tuple[Known, ...]
    lines: Callable[[int, int], Iterator[Json]] = bodies
    encode: Callable[[Json, str], bytes] = encoded
    said: Callable[[Json], Json] = said
    answer_complaints: Callable[[Json], list[str]] = completion_complaints


@dataclass(slots=True)
class Verdict:
    """What was found in one direction: `complaints` are broken promises that need no peer to be seen."""

    name: str
    known: Sequence[Known]
    tally: Tally = field(default_factory=Tally)
    complaints: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything is explained, every explanation is needed, and the SDK's types take every body."""
        return not (self.tally.findings or self.complaints or self.tally.stale(self.known))


def judge_requests(judged: Judged, count: int) -> Verdict:
    """Translate lines by ours and by the peer, with losses allowed on both sides."""
    verdict = Verdict(f"{judged.name}, requests", judged.requests)
    for number, body in enumerate(judged.lines(count, SEED)):
        model = judged.models[number % len(judged.models)]
        text = judged.encode(body, model)
        ours, dropped = _ours(judged, text)
        if REFUSED not in ours:
            verdict.complaints += [f"{each} ({json.dumps(body)[:300]})" for each in judged.complaints(ours)]
            ours = judged.canonical(ours)
        verdict.complaints += _unkept(judged, text, ours, dropped)
        theirs = judged.peer.request(body, model)
        theirs = theirs if REFUSED in theirs else judged.canonical(theirs)
        verdict.tally.add(Pair(body, model, ours, theirs, dropped), judged.requests)
    return verdict


def _ours(judged: Judged, text: bytes) -> tuple[Json, tuple[str, ...]]:
    try:
        made = judged.translate(text, model=None, drop_params=True)
    except LineRejected as error:
        return {REFUSED: error.param}, ()
    return untold(json.loads(made.body), made.dropped)


def _unkept(judged: Judged, text: bytes, ours: Json, dropped: tuple[str, ...]) -> list[str]:
    """Where nothing may be lost, a line is refused if and only if it is refused or robbed where it may."""
    try:
        strictly = judged.translate(text, model=None, drop_params=False, strict_params=True)
    except LineRejected as error:
        if REFUSED in ours or dropped:
            return []
        return [f"refused for {error.param}, though nothing would be dropped"]
    lost = [name for name in (*dropped, *strictly.dropped) if name not in NOTED]
    if REFUSED in ours or lost:
        return [f"translated, though {lost or ours} is lost"]
    return []


def judge_answers(judged: Judged, count: int) -> Verdict:
    """Translate native answers by ours and by the peer."""
    verdict = Verdict(f"{judged.name}, answers", judged.answers)
    for number, native in enumerate(judged.results(count, SEED)):
        model = judged.models[number % len(judged.models)]
        text = json.dumps(native, ensure_ascii=number % 2 == 0).encode()
        answer = judged.answer(text)
        made = json.loads(answer.body)
        verdict.complaints += judged.answer_complaints(made)
        ours = judged.said(made)
        usage = ours["usage"]
        if (answer.usage.input_tokens, answer.usage.output_tokens) != (usage["prompt"], usage["completion"]):
            verdict.complaints.append(f"usage beside the answer and in it differ: {answer.usage}")
        theirs = judged.peer.answer(text, model)
        theirs = theirs if REFUSED in theirs else judged.said(theirs)
        verdict.tally.add(Pair(native, model, ours, theirs), judged.answers)
    return verdict


def _choice(choice: Json) -> Json:
    message: dict[str, Any] = choice["message"]
    calls = [
        {"id": call["id"], "name": call["function"]["name"], "arguments": _arguments(call["function"]["arguments"])}
        for call in message.get("tool_calls") or ()
    ]
    return {
        "index": choice["index"],
        "finish_reason": choice["finish_reason"],
        "content": message.get("content") or "",
        "refusal": message.get("refusal") or "",
        "reasoning": message.get("reasoning_content") or "",
        "calls": calls,
    }


def _arguments(text: str) -> object:
    return json.loads(text)
