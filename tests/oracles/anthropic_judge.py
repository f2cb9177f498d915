"""Anthropic's Messages: what differs from litellm's, and native messages to be read.

Pages are those of the Claude Platform docs as of October and November 2026, unless another is named.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.oracles.lines import ARGUMENTS, NAMES, TEXTS
from tests.oracles.meaning import REFUSED, Json, Known, Pair
from tests.oracles.real_types import real_types

Rewrite = Callable[[Pair], None]
EMPTY = "[System: Empty message content sanitised to satisfy protocol]"
NOTE = "Operator note (not from the user): the following was originally a mid-conversation system-role reminder."


def canonical(body: Json) -> Json:
    """Return params in their longest spelling; neighbours of one role are one message, as the API takes them."""
    made = {key: value for key, value in body.items() if key not in ("model", "json_mode")}
    if isinstance(made.get("system"), str):
        made["system"] = [{"type": "text", "text": made["system"]}]
    made["messages"] = merged(made["messages"])
    if tools := made.get("tools"):
        made["tools"] = [_untyped(tool) for tool in tools]
    choice = dict(made.pop("tool_choice", {}))
    if not choice.get("disable_parallel_tool_use", True):
        del choice["disable_parallel_tool_use"]
    if choice and choice != {"type": "auto"}:
        made["tool_choice"] = choice
    if (form := made.pop("output_format", None)) is not None:  # the older name
        made["output_config"] = {**made.get("output_config", {}), "format": form}
    return made


def _untyped(tool: Json) -> Json:
    return {key: value for key, value in tool.items() if (key, value) != ("type", "custom")}


def merged(messages: list[Json]) -> list[Json]:
    """Return messages whose content is blocks, neighbours of one role joined."""
    found: list[Json] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else [*map(_block, content)]
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += blocks
        else:
            found.append({"role": message["role"], "content": blocks})
    return found


def _block(block: Json) -> Json:
    if block["type"] != "tool_result":
        return dict(block)
    content = block.get("content")
    rest = {key: value for key, value in block.items() if key != "content"}
    if not content:
        return rest
    return {**rest, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


# ---- requests: what differs ----


def refusing(*params: str) -> Rewrite:
    """Return the difference that ours refuses the line for one of these fields, and litellm does not."""

    def rewrite(pair: Pair) -> None:
        if str(pair.ours.get(REFUSED)) in params:
            pair.theirs = pair.ours

    return rewrite


def refusing_part(kind: str) -> Rewrite:
    """Return the difference that ours refuses a kind of content part, and litellm does not."""

    def rewrite(pair: Pair) -> None:
        parts = [part for message in pair.given["messages"] for part in content_of(message) if isinstance(part, dict)]
        if REFUSED in pair.ours and "content[" in pair.ours[REFUSED] and any(part["type"] == kind for part in parts):
            pair.theirs = pair.ours

    return rewrite


def content_of(message: Json) -> list[Any]:
    """Return the parts of a message."""
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def is_blank(message: Json) -> bool:
    """Whether a message says nothing."""
    parts = content_of(message)
    return all(part["type"] == "text" and not part["text"].strip() for part in parts) and not message.get("tool_calls")


def blank(pair: Pair) -> None:
    """Ours refuses a blank message of the user's; litellm puts words of its own there."""
    refused = str(pair.ours.get(REFUSED, ""))
    if refused.startswith("messages") and any(is_blank(each) for each in pair.given["messages"]):
        pair.theirs = pair.ours


def invented(pair: Pair) -> None:
    """Take away litellm's words in a blank message that ours leaves out, because the API takes none."""
    parts = [part for message in pair.given["messages"] for part in content_of(message)]
    if REFUSED not in pair.ours and any(part["type"] == "text" and not part["text"].strip() for part in parts):
        drop_blocks(pair.theirs, lambda block: block.get("text") == EMPTY or not block.get("text", "x").strip())
        pair.theirs["system"] = [block for block in pair.theirs.pop("system", ()) if block["text"].strip()]
        if not pair.theirs["system"]:
            del pair.theirs["system"]


def drop_blocks(body: Json, unwanted: Callable[[Json], bool]) -> None:
    """Take blocks out of all messages, and messages without any block."""
    for message in body.get("messages", ()):
        message["content"] = [block for block in message["content"] if not unwanted(block)]
    body["messages"] = merged([message for message in body.get("messages", ()) if message["content"]])


def refusals(pair: Pair) -> None:
    """Take out what the assistant refused with: litellm leaves it out, and two messages of the user's join."""
    said = {message["refusal"] for message in pair.given["messages"] if message.get("refusal")}
    if said and REFUSED not in pair.ours:
        drop_blocks(pair.ours, lambda block: block.get("text") in said)


def late_system(pair: Pair) -> None:
    """Move a later system message to the others: litellm makes it the user's, or places it elsewhere."""
    system = [message["content"] for message in pair.given["messages"][1:] if message["role"] == "system"]
    for side in (pair.ours, pair.theirs):
        if late := [message for message in side.get("messages", ()) if message["role"] == "system"]:
            side["messages"] = merged([each for each in side["messages"] if each["role"] != "system"])
            side["system"] = [*side.get("system", ()), *(block for each in late for block in each["content"])]
    for message in pair.theirs.get("messages", ()):
        texts = [block.get("text") for block in message["content"]]
        if NOTE in texts and (at := texts.index(NOTE)) + 1 < len(texts) and texts[at + 1] in system:
            moved = message["content"][at + 1]
            message["content"] = message["content"][:at] + message["content"][at + 2 :]
            pair.theirs["system"] = [*pair.theirs.get("system", ()), moved]


def bare_tools(pair: Pair) -> None:
    """Take out the tools of a line that has calls and no tools: ours names those called, litellm a dummy."""
    if not pair.given.get("tools") and [tool["name"] for tool in pair.theirs.get("tools", ())] == ["dummy_tool"]:
        for side in (pair.ours, pair.theirs):
            side.pop("tools", None)
        if pair.ours.get("tool_choice") == {"type": "none"}:
            del pair.ours["tool_choice"]


def clamped(pair: Pair) -> None:
    """Ours writes down that it sends 1; litellm sends what the API refuses."""
    if "temperature=1" in pair.dropped and pair.ours.get("temperature") == 1 and pair.given["temperature"] > 1:
        pair.theirs["temperature"] = 1


def defaults(pair: Pair) -> None:
    """Take out sampling that says what is so anyway: ours does not send it where the model might refuse it."""
    for key in ("temperature", "top_p"):
        if pair.given.get(key) == 1 == pair.theirs.get(key) and key not in pair.ours and REFUSED not in pair.ours:
            del pair.theirs[key]


def dropped_sampling(pair: Pair) -> None:
    """Take out sampling that ours left out and wrote down, and litellm sends."""
    for key in ("temperature", "top_p", "top_k"):
        if key in pair.dropped:
            pair.theirs.pop(key, None)


def titles(pair: Pair) -> None:
    """Take out the file name that ours keeps as the document's title."""
    for message in pair.ours.get("messages", ()):
        for block in message["content"]:
            if block["type"] == "document":
                block.pop("title", None)


def user_names(pair: Pair) -> None:
    """Take out the pseudonym of `user`; litellm sends the name, or nothing if it looks like an address."""
    given = pair.given.get("user", "")
    ours, theirs = pair.ours.get("metadata"), pair.theirs.get("metadata")
    if ours == {"user_id": hashlib.sha256(given.encode()).hexdigest()} and theirs in (None, {"user_id": given}):
        pair.ours.pop("metadata")
        pair.theirs.pop("metadata", None)


def stops(pair: Pair) -> None:
    """Take out stop sequences of white space, which ours leaves out and writes down."""
    if "stop" in pair.dropped:
        left = [each for each in pair.theirs.get("stop_sequences", ()) if each.strip()]
        pair.theirs["stop_sequences"] = left
        if not left:
            del pair.theirs["stop_sequences"]


def bounds(pair: Pair) -> None:
    """Take bounds out of schemas, and what is told of them: ours tells them, as recorded, litellm some, its own way."""
    strict = {tool["function"]["name"] for tool in pair.given.get("tools") or () if tool["function"].get("strict")}
    if not any("schema." in name or "parameters." in name for name in pair.dropped):
        return
    for side in (pair.ours, pair.theirs):
        for schema in _schemas(side, strict):
            _unbind(schema)


def _schemas(body: Json, strict: set[str]) -> Iterator[Json]:
    """Yield the schemas that Anthropic enforces."""
    if (form := body.get("output_config", {}).get("format")) is not None:
        yield form["schema"]
    if (form := body.get("outputConfig", {}).get("textFormat")) is not None:
        yield form["structure"]
    for tool in body.get("tools", ()):
        if tool["name"] in strict:
            yield tool["input_schema"]
    for tool in body.get("toolConfig", {}).get("tools", ()):
        if tool["toolSpec"]["name"] in strict:
            yield tool["toolSpec"]["inputSchema"]


_TOLD = re.compile(r"\s*(?:\((?:minimum|maximum): .*\)|Note: .*)\Z", re.DOTALL)


def _unbind(value: Any) -> None:
    if isinstance(value, dict):
        for name in ("minimum", "maximum"):
            value.pop(name, None)
        if isinstance(said := value.get("description"), str):
            value["description"] = _TOLD.sub("", said)
            if not value["description"]:
                del value["description"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _unbind(inner)


def budgets(pair: Pair) -> None:
    """Take litellm's budget for ours: OpenAI's words have no numbers, each names its own."""
    ours, theirs = pair.ours.get("thinking", {}), pair.theirs.get("thinking", {})
    if ours.get("type") == theirs.get("type") == "enabled":
        ours["budget_tokens"] = theirs["budget_tokens"]


def displays(pair: Pair) -> None:
    """Take out that litellm asks for a summary of the thoughts, which OpenAI's API does not give."""
    if pair.ours.get("thinking", {}).get("type") == "adaptive":
        pair.theirs.get("thinking", {}).pop("display", None)


def switched_off(pair: Pair) -> None:
    """Take out that thinking is switched off: litellm sends nothing for `none`."""
    unsent = pair.given.get("reasoning_effort") == "none" and "thinking" not in pair.theirs
    if unsent and pair.ours.get("thinking") in ({"type": "disabled"}, {"type": "between_tools"}):
        del pair.ours["thinking"]


def no_thinking(pair: Pair) -> None:
    """Take out thinking that ours left out and wrote down: the model wants its thoughts back, or must use a tool."""
    if "reasoning_effort" in pair.dropped and "thinking" not in pair.ours:
        pair.theirs.pop("thinking", None)
        (pair.theirs.get("output_config") or {}).pop("effort", None)
        if not pair.theirs.get("output_config", True):
            del pair.theirs["output_config"]


def strictness(pair: Pair) -> None:
    """Take out `strict` of tools, which litellm leaves out."""
    for tool in pair.ours.get("tools", ()):
        tool.pop("strict", None)


VERSION = "Claude Platform docs, Versions"
MESSAGES = "Claude Platform docs, Messages API"
OUTPUTS = "Claude Platform docs, Structured outputs"
REQUESTS: tuple[Known, ...] = (
    Known(
        "n above 1 is refused", "one answer to a request; litellm asks for one without a word", MESSAGES, refusing("n")
    ),
    Known("logprobs are refused", "there are none; litellm leaves them out", MESSAGES, refusing("logprobs")),
    Known("two limits that differ are refused", "litellm takes one", MESSAGES, refusing("max_tokens")),
    Known("audio is refused", "no equivalent; litellm leaves the part out", MESSAGES, refusing_part("input_audio")),
    Known("prefill is refused where the model refuses it", "a 400 on new models", MESSAGES, refusing("messages")),
    Known("a blank message is refused", "litellm writes words of its own", MESSAGES, blank),
    Known("a blank message is left out", "litellm writes words of its own", MESSAGES, invented),
    Known("refusals stay in the conversation", "litellm leaves them out", MESSAGES, refusals),
    Known("later system messages are hoisted", "litellm makes them the user's, with a note", MESSAGES, late_system),
    Known("tools of calls without tools", "litellm declares a dummy", MESSAGES, bare_tools),
    Known("temperature above 1 is clamped", "the API takes 0 to 1", MESSAGES, clamped),
    Known("sampling of value 1 is not sent", "1 is the default", MESSAGES, defaults),
    Known("sampling that the model refuses", "left out and recorded", VERSION, dropped_sampling),
    Known("pictures go as what they are", "the API compares; litellm sends the wrong one", MESSAGES, real_types),
    Known("file names become titles", "litellm loses them", MESSAGES, titles),
    Known("user names are hashed", "metadata.user_id is a pseudonym", MESSAGES, user_names),
    Known("stops of white space", "the API refuses them: left out and recorded", MESSAGES, stops),
    Known("bounds are told, and recorded", "none is enforced; litellm sends some", OUTPUTS, bounds),
    Known("budgets of thinking", "OpenAI's levels have no numbers", MESSAGES, budgets),
    Known("thoughts are not asked for", "litellm asks for summaries", MESSAGES, displays),
    Known("effort none switches thinking off", "litellm sends nothing", MESSAGES, switched_off),
    Known("thinking that cannot be", "left out and recorded", MESSAGES, no_thinking),
    Known("strict tools stay strict", "litellm leaves it out", MESSAGES, strictness),
)


# ---- answers ----


def results(count: int, seed: int) -> Iterator[Json]:
    """Yield Messages: text, thoughts, calls, refusals, cut answers, citations, cache counts."""
    dice = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        content, reason = kind(dice)
        yield message(dice, content, reason, number)


def message(dice: random.Random, content: list[Json], reason: str, number: int) -> Json:
    """Return a Message with counts from the dice."""
    written = dice.randint(1, 9000)
    usage: Json = {"input_tokens": dice.randint(1, 9000), "output_tokens": written, "service_tier": "batch"}
    if dice.random() < 0.4:
        usage |= {
            "cache_creation_input_tokens": dice.choice((0, 512)),
            "cache_read_input_tokens": dice.choice((0, 4096)),
        }
    if any(block["type"] == "thinking" for block in content):
        usage["output_tokens_details"] = {"thinking_tokens": dice.randint(1, written)}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": "END" if reason == "stop_sequence" else None,
        "usage": usage,
    }


def _spoken(dice: random.Random) -> tuple[list[Json], str]:
    return [_text(dice)], dice.choice(("end_turn", "end_turn", "stop_sequence", "max_tokens"))


def _spoken_twice(dice: random.Random) -> tuple[list[Json], str]:
    return [_text(dice), _text(dice)], "end_turn"


def _thought(dice: random.Random) -> tuple[list[Json], str]:
    thinking = {"type": "thinking", "thinking": dice.choice(TEXTS), "signature": "c2ln"}
    return [thinking, _text(dice)], dice.choice(("end_turn", "max_tokens"))


def _hidden(dice: random.Random) -> tuple[list[Json], str]:
    return [{"type": "redacted_thinking", "data": "AAAA"}, _text(dice)], "end_turn"


def _thought_twice(dice: random.Random) -> tuple[list[Json], str]:
    thoughts = [{"type": "thinking", "thinking": words, "signature": "c2ln"} for words in ("One.", "Two.")]
    return [*thoughts, _text(dice)], "end_turn"


def _called(dice: random.Random) -> tuple[list[Json], str]:
    calls = [_call(dice, at) for at in range(dice.randint(1, 3))]
    return [*([_text(dice)] if dice.random() < 0.5 else []), *calls], "tool_use"


def _cut_call(dice: random.Random) -> tuple[list[Json], str]:
    return [_text(dice), _call(dice, 0)], "max_tokens"


def _declined(_dice: random.Random) -> tuple[list[Json], str]:
    return [], "refusal"


def _declined_late(dice: random.Random) -> tuple[list[Json], str]:
    return [_text(dice)], "refusal"


def _overflown(dice: random.Random) -> tuple[list[Json], str]:
    return [_text(dice)], dice.choice(("model_context_window_exceeded", "pause_turn"))


def _silent(_dice: random.Random) -> tuple[list[Json], str]:
    return [], "end_turn"


def _text(dice: random.Random) -> Json:
    return {"type": "text", "text": dice.choice(TEXTS)}


def _call(dice: random.Random, number: int) -> Json:
    arguments = json.loads(dice.choice(ARGUMENTS))
    return {"type": "tool_use", "id": f"toolu_{number}", "name": dice.choice(NAMES), "input": arguments}


KINDS = (
    _spoken, _spoken_twice, _thought, _hidden, _thought_twice, _called, _cut_call, _declined, _declined_late,
    _overflown, _silent,
)  # fmt: skip


def declining(pair: Pair) -> None:
    """Take out what ours puts into `refusal`; litellm says only content_filter."""
    for choice in pair.ours.get("choices", ()):
        if choice["finish_reason"] == "content_filter":
            choice["refusal"] = ""


def apart(pair: Pair) -> None:
    """Join thoughts without the blank line that ours puts between two of them."""
    for choice in pair.ours.get("choices", ()):
        choice["reasoning"] = choice["reasoning"].replace("\n\n", "")


def too_long(pair: Pair) -> None:
    """Take an answer that the context window cut for one that is cut: litellm calls it complete."""
    if pair.given["stop_reason"] == "model_context_window_exceeded":
        pair.theirs["choices"][0]["finish_reason"] = "length"


READ = "Claude Platform docs, Handling stop reasons"
ANSWERS: tuple[Known, ...] = (
    Known("a refusal is told in message.refusal", "litellm leaves it empty", READ, declining),
    Known("thoughts stand apart", "litellm joins them without a space", READ, apart),
    Known("an overflow is a length stop", "litellm says stop", READ, too_long),
)
