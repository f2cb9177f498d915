"""How fast lines are translated, both ways, beside a JSON round trip of the same lines and beside litellm."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from bench import report
from bench.lines import chat_bodies
from proxy_plugin.providers.formats.anthropic import answers as anthropic_answers
from proxy_plugin.providers.formats.anthropic import requests as anthropic_messages
from proxy_plugin.providers.formats.bedrock import invoke as bedrock_invoke
from proxy_plugin.providers.formats.gemini import answers as gemini_answers
from proxy_plugin.providers.formats.gemini import requests as gemini_content
from proxy_plugin.providers.formats.shapes import Answer

Json = dict[str, Any]
ROOT = Path(__file__).parent.parent
PEER = ROOT / ".venv-oracles" / "bin" / "python"
ROUNDS = 7
JSON_BOUNDS = {"requests": 2.0, "answers": 1.5}
ORJSON_BOUND, LITELLM_BOUND = 6.0, 20.0  # of plain chat; litellm's: requests to Bedrock
CLAUDE, NOVA, LLAMA = (
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "amazon.nova-pro-v1:0",
    "meta.llama3-3-70b-instruct-v1:0",
)
BEDROCK = ("Claude on Bedrock", "Converse", "Nova on Bedrock", "Llama on Bedrock")
IMAGE = "iVBORw0KGgo" + "A" * 100_000
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name"}, "days": {"type": "integer"}},
    "required": ["city"],
}
STRICT = SCHEMA | {"required": ["city", "days"], "additionalProperties": False}
WORDS = "It is sunny in Köln, 22 °C; tomorrow 晴れ. " * 8
ARGUMENTS = {"city": "Köln", "days": 3}


@dataclass(frozen=True, slots=True)
class Format:
    """`name` is that of the judges' record, which knows litellm's side. `answers` are by kind of line."""

    name: str
    model: str
    request: Callable[[bytes], object]
    answer: Callable[[bytes], Answer]
    answers: dict[str, Json]
    kinds: tuple[str, ...] = ("plain", "tools", "schema", "image")


@dataclass(frozen=True, slots=True)
class Case:
    """The same lines for everybody: `direction` is requests or answers."""

    format: str
    model: str
    direction: str
    kind: str
    lines: list[bytes]


def _claude_said(*content: Json) -> Json:
    usage = {"input_tokens": 120, "output_tokens": 90, "cache_read_input_tokens": 0, "service_tier": "batch"}
    head = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001"}
    return {**head, "content": [*content], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def _converse_said(*content: Json) -> Json:
    usage = {"inputTokens": 120, "outputTokens": 90, "totalTokens": 210}
    message = {"message": {"role": "assistant", "content": [*content]}}
    return {"output": message, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 900}}


def _gemini_said(*parts: Json) -> Json:
    usage = {"promptTokenCount": 120, "candidatesTokenCount": 90, "totalTokenCount": 210}
    candidate = {"content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r"}


_CLAUDE = {
    "plain": _claude_said({"type": "text", "text": WORDS}),
    "tools": _claude_said({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": ARGUMENTS}),
}
_CONVERSE = {
    "plain": _converse_said({"text": WORDS}),
    "tools": _converse_said({"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": ARGUMENTS}}),
}
_GEMINI = {
    "plain": _gemini_said({"text": WORDS}),
    "tools": _gemini_said({"functionCall": {"name": "get_weather", "args": ARGUMENTS}}),
}
_LLAMA = {
    "plain": {"generation": WORDS, "prompt_token_count": 120, "generation_token_count": 90, "stop_reason": "stop"},
}


def _bedrock(to_native: Callable[..., object], model: str) -> Callable[[bytes], object]:
    """Return a translator as the lane calls it: the job names the model."""
    return partial(to_native, model=model, drop_params=False)


_bedrock_answer = partial(bedrock_invoke.to_completion, model="m")
FORMATS = (
    Format(
        "Anthropic",
        "claude-haiku-4-5",
        partial(anthropic_messages.to_messages, model=None, drop_params=False),
        anthropic_answers.to_completion,
        _CLAUDE,
    ),
    Format("Claude on Bedrock", CLAUDE, _bedrock(bedrock_invoke.to_invoke, CLAUDE), _bedrock_answer, _CLAUDE),
    Format("Converse", NOVA, _bedrock(bedrock_invoke.to_converse, NOVA), _bedrock_answer, _CONVERSE),
    Format("Nova on Bedrock", NOVA, _bedrock(bedrock_invoke.to_invoke, NOVA), _bedrock_answer, _CONVERSE),
    Format(
        "Llama on Bedrock", LLAMA, _bedrock(bedrock_invoke.to_invoke, LLAMA), _bedrock_answer, _LLAMA, kinds=("plain",)
    ),
    Format(
        "Gemini",
        "gemini-2.5-flash",
        partial(gemini_content.to_generate_content, model=None, drop_params=False),
        gemini_answers.to_completion,
        _GEMINI,
    ),
)


def run(home: Path, count: int, peer: Path = PEER) -> None:
    """Print the tables; `peer` is the interpreter of an environment with litellm."""
    home.mkdir(parents=True, exist_ok=True)
    report.note(f"translate: {count} lines a case")
    cases = [(each, case) for each in FORMATS for case in _cases(each, count)]
    theirs = litellms(peer, home, [case for _, case in cases]) if peer.exists() else {}
    head = ("format", "lines", "x json", "x orjson", "x faster", "bytes", "µs a line", "lines/s a core", "litellm, µs")
    for direction in ("requests", "answers"):
        chosen = [(each, case) for each, case in cases if case.direction == direction]
        rows = [_row(case, measure(each, case), theirs.get(key(case))) for each, case in chosen]
        report.say(f"### Translation, {direction}\n\n{report.table(head, rows)}")
    report.say(
        f"CPU time of one core, median of {ROUNDS} interleaved rounds over {count} lines. `x json` and `x orjson` are"
        " the time over that of reading and writing the same line with the standard library and with orjson. Bounds:"
        f" {JSON_BOUNDS['requests']} times `json` for requests, {JSON_BOUNDS['answers']} for answers; for plain chat"
        f" {ORJSON_BOUND:.0f} times orjson, and {LITELLM_BOUND:.0f} times litellm's speed to Bedrock."
        " litellm's column needs `make test-oracles` to have made its environment."
    )


def key(case: Case) -> str:
    """Return a case's name."""
    return f"{case.format}/{case.direction}/{case.kind}"


def _cases(each: Format, count: int) -> Iterator[Case]:
    for kind in each.kinds:
        yield Case(each.name, each.model, "requests", kind, requests(each.model, kind, count))
    for kind, native in each.answers.items():
        yield Case(each.name, each.model, "answers", kind, [json.dumps(native).encode()] * count)


def requests(model: str, kind: str, count: int) -> list[bytes]:
    """Return chat bodies: plain text, tools with a call and its result, a schema, or an image of 100 KB."""
    if kind == "plain":
        return chat_bodies(model, 1000)[:count]
    if kind == "image":
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}]
        content = [{"type": "text", "text": "What is this?"}, *parts]
        body: Json = {"model": model, "max_tokens": 300, "messages": [{"role": "user", "content": content}]}
        return [json.dumps(body).encode()] * (count // 10 or 1)
    if kind == "schema":
        wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": STRICT}}
        asked = [json.loads(each) | {"response_format": wanted} for each in chat_bodies(model, 600)[:count]]
        return [json.dumps(each).encode() for each in asked]
    names = ("get_weather", "search", "book")
    function = {"description": "Looks it up.", "parameters": SCHEMA}
    call = {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}
    messages: list[Json] = [
        {"role": "user", "content": "How is the weather in Köln?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "c1", "content": "22 degrees"},
    ]
    tools = [{"type": "function", "function": {"name": name, **function}} for name in names]
    return [json.dumps({"model": model, "max_tokens": 300, "messages": messages, "tools": tools}).encode()] * count


def measure(each: Format, case: Case) -> tuple[float, float, float]:
    """Return seconds a line: ours, the standard library's round trip, orjson's."""
    ours = each.request if case.direction == "requests" else each.answer
    found = [[seconds(work, case.lines) for work in (ours, _json, _orjson)] for _ in range(ROUNDS)]
    mine, library, fast = (median(column) for column in zip(*found, strict=True))
    return mine, library, fast


def seconds(work: Callable[[bytes], object], lines: Sequence[bytes]) -> float:
    """Return the CPU seconds that a line takes."""
    began = time.process_time()
    for line in lines:
        work(line)
    return (time.process_time() - began) / len(lines)


def _json(line: bytes) -> bytes:
    return json.dumps(json.loads(line)).encode()


def _orjson(line: bytes) -> bytes:
    return orjson.dumps(orjson.loads(line))


def litellms(peer: Path, home: Path, cases: list[Case]) -> dict[str, float]:
    """Return litellm's seconds a line by case; what it refuses is not there."""
    file = home / "cases.jsonl"
    with file.open("w") as lines:
        for case in cases:
            shown = {"key": key(case), "model": case.model, "lines": [line.decode() for line in case.lines[:100]]}
            print(json.dumps({**shown, "format": case.format, "direction": case.direction}), file=lines)
    done = subprocess.run(
        [peer, "-m", "bench.translate_litellm", file], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(case: Case, took: tuple[float, float, float], theirs: float | None) -> tuple[str, ...]:
    ours, library, fast = took
    plain = case.kind == "plain"
    times = [ours / library, ours / fast]
    bounds = JSON_BOUNDS[case.direction], ORJSON_BOUND if plain else float("inf")
    size = sum(map(len, case.lines)) / len(case.lines)
    ratios = (report.marked(value, bound) for value, bound in zip(times, bounds, strict=True))
    return (
        case.format,
        case.kind,
        *ratios,
        "" if theirs is None else _faster(case, theirs / ours),
        f"{size:,.0f}",
        f"{ours * 1e6:.1f}",
        f"{1 / ours:,.0f}",
        "" if theirs is None else f"{theirs * 1e6:,.0f}",
    )


def _faster(case: Case, times: float) -> str:
    bound = case.kind == "plain" and case.direction == "requests" and case.format in BEDROCK
    return f"**{times:.0f}**" if bound and times < LITELLM_BOUND else f"{times:.0f}"
