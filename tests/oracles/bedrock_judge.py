"""Bedrock's formats: what differs from litellm's, and native answers to be read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

from tests.oracles import anthropic_judge
from tests.oracles.anthropic_judge import refusing, refusing_part
from tests.oracles.gemini_judge import without
from tests.oracles.meaning import REFUSED, Json, Known, Pair
from tests.oracles.real_types import real_types

PAGE = "Amazon Bedrock API reference, Converse"
CLAUDE_PAGE = "Amazon Bedrock user guide, Anthropic Claude Messages API"
NOVA_PAGE = "Amazon Nova user guide, complete request schema"
JSON_TOOL = "json_tool_call"


# ---- Claude, InvokeModel ----


def limits(pair: Pair) -> None:
    """Take our limit for litellm's where the line has none: ours is the model's own, litellm's is 4096."""
    if not {"max_tokens", "max_completion_tokens"} & pair.given.keys() and REFUSED not in pair.ours:
        pair.theirs["max_tokens"] = pair.ours["max_tokens"]


def json_tools(pair: Pair) -> None:
    """Take out the tool that litellm makes of a schema where the model has none; ours leaves it out and says so."""
    if "response_format" in pair.dropped and JSON_TOOL in [tool["name"] for tool in pair.theirs.get("tools", ())]:
        drop_json_tool(pair)


def drop_json_tool(pair: Pair) -> None:
    """Take out the tool that litellm makes of a schema."""
    pair.theirs["tools"] = [tool for tool in pair.theirs["tools"] if tool["name"] != JSON_TOOL]
    if not pair.theirs["tools"]:
        del pair.theirs["tools"]
    if pair.theirs.get("tool_choice", {}).get("name") == JSON_TOOL:
        del pair.theirs["tool_choice"]


def betas(pair: Pair) -> None:
    """Take out the beta that litellm names for schemas, which are generally available."""
    if pair.theirs.get("anthropic_beta") == ["structured-outputs-2025-11-13"] and "output_config" in pair.ours:
        del pair.theirs["anthropic_beta"]


def capped(pair: Pair) -> None:
    """Take the model's own limit for one above it: ours writes down that it sends that."""
    most = pair.ours.get("max_tokens")
    if {f"max_tokens={most}", f"max_completion_tokens={most}"} & set(pair.dropped):
        pair.theirs["max_tokens"] = most


CLAUDE: tuple[Known, ...] = (
    *(each for each in anthropic_judge.REQUESTS if each.name != "sampling of value 1 is not sent"),
    Known("the limit that is not given", "the model's own; litellm sends 4096", CLAUDE_PAGE, limits),
    Known("a limit above the model's", "capped and recorded", CLAUDE_PAGE, capped),
    Known("schemas on models without them", "left out and recorded; litellm makes a tool", CLAUDE_PAGE, json_tools),
    Known("no beta for schemas", "litellm names one", CLAUDE_PAGE, betas),
)
CLAUDE_ANSWERS: tuple[Known, ...] = anthropic_judge.ANSWERS


# ---- Converse ----


def canonical(body: Json) -> Json:
    """Return a request whose schemas are JSON and whose neighbours of one role are one message."""
    made = {key: value for key, value in body.items() if value not in ({}, [])}
    made["messages"] = merged(made.get("messages", []))
    for tool in made.get("toolConfig", {}).get("tools", ()):
        if "toolSpec" in tool:
            schema = tool["toolSpec"]["inputSchema"]["json"]
            tool["toolSpec"]["inputSchema"] = {
                key: value for key, value in schema.items() if (key, value) != ("required", [])
            }
    if (form := made.get("outputConfig", {}).get("textFormat")) is not None:
        form["structure"] = json.loads(form["structure"]["jsonSchema"]["schema"])
    return made


def merged(messages: list[Json]) -> list[Json]:
    """Return messages, neighbours of one role joined."""
    found: list[Json] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += message["content"]
        else:
            found.append({"role": message["role"], "content": [*message["content"]]})
    return found


def described(pair: Pair) -> None:
    """Take out descriptions that nobody gave: litellm repeats the tool's name."""
    for spec in specs(pair.theirs):
        if spec.get("description") == spec["name"]:
            del spec["description"]


def schemas(pair: Pair) -> None:
    """Compare schemas without what litellm takes out of them for Bedrock."""
    for side in (pair.ours, pair.theirs):
        for spec in specs(side):
            spec["inputSchema"] = without(spec["inputSchema"], "additionalProperties")


def specs(body: Json) -> list[Json]:
    """Return all tools of a request."""
    return [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ()) if "toolSpec" in tool]


def refusals(pair: Pair) -> None:
    """Take out what the assistant refused with: litellm leaves it out."""
    said = {message["refusal"] for message in pair.given["messages"] if message.get("refusal")}
    if said:
        drop_blocks(pair.ours, lambda block: block.get("text") in said)
        drop_blocks(pair.theirs, lambda block: block.get("text") in FILLED)


def blank(pair: Pair) -> None:
    """Ours refuses a blank message of the user's; litellm puts words of its own there."""
    refused = str(pair.ours.get(REFUSED, ""))
    if refused.startswith("messages") and any(map(anthropic_judge.is_blank, pair.given["messages"])):
        pair.theirs = pair.ours


FILLED = ("Please continue.", ".", "[System: Empty message content sanitised to satisfy protocol]")


def invented(pair: Pair) -> None:
    """Take litellm's words out of blank messages, which ours leaves out."""
    if any(not part["text"].strip() for part in texts_of(pair.given)) and REFUSED not in pair.ours:
        drop_blocks(pair.theirs, lambda block: block.get("text") in FILLED or not block.get("text", "x").strip())
        system = [block for block in pair.theirs.pop("system", ()) if block["text"].strip()]
        pair.theirs |= {"system": system} if system else {}


def texts_of(body: Json) -> list[Json]:
    """Return the text parts of a chat body."""
    parts = [part for message in body["messages"] for part in anthropic_judge.content_of(message)]
    return [part for part in parts if part["type"] == "text"]


def drop_blocks(body: Json, unwanted: Callable[[Json], bool]) -> None:
    """Take blocks out of all messages, and messages without any block."""
    for message in body.get("messages", ()):
        message["content"] = [block for block in message["content"] if not unwanted(block)]
    if "messages" in body:
        body["messages"] = merged([message for message in body["messages"] if message["content"]])


def tiers(pair: Pair) -> None:
    """Take out the tier that litellm names for `auto`: a batch has none."""
    if pair.given.get("service_tier") == "auto":
        pair.theirs.pop("serviceTier", None)


def late_system(pair: Pair) -> None:
    """Move a later system message to the others: litellm makes it the user's, with a note."""
    late = [message["content"] for message in pair.given["messages"][1:] if message["role"] == "system"]
    for message in pair.theirs.get("messages", ()):
        texts = [block.get("text") for block in message["content"]]
        if anthropic_judge.NOTE in texts:
            at = texts.index(anthropic_judge.NOTE)
            assert texts[at + 1] in late
            pair.theirs["system"] = [*pair.theirs.get("system", ()), message["content"][at + 1]]
            message["content"] = message["content"][:at] + message["content"][at + 2 :]


def json_tool(pair: Pair) -> None:
    """Take out the tool that litellm makes of a schema where the model has none; ours leaves it out and says so."""
    config = pair.theirs.get("toolConfig", {})
    if "response_format" in pair.dropped and JSON_TOOL in [spec["name"] for spec in specs(pair.theirs)]:
        config["tools"] = [tool for tool in config["tools"] if tool["toolSpec"]["name"] != JSON_TOOL]
        if config.get("toolChoice") == {"tool": {"name": JSON_TOOL}}:
            del config["toolChoice"]
        if not config["tools"]:
            del pair.theirs["toolConfig"]


def spelled_calls(pair: Pair) -> None:
    """Pass over calls that litellm spells out as text, where the line has no tools; ours names those called."""
    if not pair.given.get("tools") and "tools" in pair.dropped and "[tool call " in json.dumps(pair.theirs):
        pair.theirs["messages"] = pair.ours["messages"]
    if not pair.given.get("tools") and "tools" in pair.dropped and "toolConfig" not in pair.theirs:
        pair.ours.pop("toolConfig", None)


def forbidden(pair: Pair) -> None:
    """Take out tools that must not be called: Converse has no word for that, ours leaves them out."""
    if pair.given.get("tool_choice") == "none" and "toolConfig" not in pair.ours:
        pair.theirs.pop("toolConfig", None)


def user_names(pair: Pair) -> None:
    """Take out the pseudonym of `user`, which litellm leaves out."""
    user = hashlib.sha256(pair.given.get("user", "").encode()).hexdigest()
    if pair.ours.get("requestMetadata") == {"user_id": user}:
        del pair.ours["requestMetadata"]


def clamped(pair: Pair) -> None:
    """Ours writes down which nearest number it sends; litellm sends what the model refuses."""
    ours, theirs = pair.ours.get("inferenceConfig", {}), pair.theirs.get("inferenceConfig", {})
    for param, native in (
        ("temperature", "temperature"),
        ("max_tokens", "maxTokens"),
        ("max_completion_tokens", "maxTokens"),
    ):
        if f"{param}={ours.get(native)}" in pair.dropped:
            theirs[native] = ours[native]


def empty_results(pair: Pair) -> None:
    """Take empty texts out of results of tools: ours sends none."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            for result in (block["toolResult"] for block in message["content"] if "toolResult" in block):
                result["content"] = [part for part in result["content"] if part != {"text": ""}]


def forced(pair: Pair) -> None:
    """Take out the choice that litellm leaves out, because it takes the model for one that cannot be forced."""
    if "toolChoice" not in pair.theirs.get("toolConfig", {"toolChoice": 0}) and pair.given.get("tool_choice"):
        pair.ours.get("toolConfig", {}).pop("toolChoice", None)


def document_names(pair: Pair) -> None:
    """Take out names of documents, which Converse wants: ours are the file's, litellm's a hash."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            for block in message["content"]:
                if "document" in block:
                    block["document"].pop("name", None)


CONVERSE: tuple[Known, ...] = (
    Known("no descriptions of our own", "litellm repeats the name", PAGE, described),
    Known("schemas stay whole", "litellm takes additionalProperties out", PAGE, schemas),
    Known("refusals stay in the conversation", "litellm leaves them out", PAGE, refusals),
    Known("a blank message is refused", "litellm writes words of its own", PAGE, blank),
    Known("a blank message is left out", "litellm writes words of its own", PAGE, invented),
    Known("auto asks for no tier", "litellm names one", PAGE, tiers),
    Known("later system messages are hoisted", "litellm makes them the user's", PAGE, late_system),
    Known("schemas on models without them", "left out and recorded; litellm makes a tool", PAGE, json_tool),
    Known("tools of calls without tools", "ours names those called; litellm writes calls as text", PAGE, spelled_calls),
    Known("tools that must not be called", "left out; litellm sends them all the same", PAGE, forbidden),
    Known("user names", "a pseudonym in requestMetadata; litellm leaves it out", PAGE, user_names),
    Known("numbers above the model's", "capped and recorded", PAGE, clamped),
    Known("empty results of tools", "no text; litellm sends an empty one", PAGE, empty_results),
    Known("forced tools", "litellm leaves the choice out for Llama", PAGE, forced),
    Known("names of documents", "litellm hashes", PAGE, document_names),
    Known("n above 1 is refused", "there is one answer", PAGE, refusing("n")),
    Known("logprobs are refused", "there are none", PAGE, refusing("logprobs")),
    Known("two limits that differ are refused", "litellm takes one", PAGE, refusing("max_tokens")),
    Known("audio is refused", "litellm leaves the part out", PAGE, refusing_part("input_audio")),
    Known("pictures the model cannot see", "refused; litellm sends them", PAGE, refusing_part("image_url")),
    Known("pictures go as what they are", "recorded; litellm sends the type that is said", PAGE, real_types),
    Known("a last message of the assistant's", "refused where the model cannot go on", PAGE, refusing("messages")),
)


# ---- Nova, InvokeModel ----


def versions(pair: Pair) -> None:
    """Take out the version that Nova wants; litellm sends none."""
    pair.ours.pop("schemaVersion", None)


def top_k(pair: Pair) -> None:
    """Take out `topK`: litellm loses it."""
    config = pair.ours.get("inferenceConfig", {})
    if config.get("topK") == pair.given.get("top_k") and "inferenceConfig" in pair.ours:
        config.pop("topK", None)
    if not config and "inferenceConfig" not in pair.theirs:
        pair.ours.pop("inferenceConfig", None)


_NOT_NOVA = (tiers, user_names, forced)  # litellm leaves these out, so does ours
_SEES = ("pictures the model cannot see", "a last message of the assistant's")
NOVA: tuple[Known, ...] = (
    *(
        each
        for each in CONVERSE
        if each.rewrite not in _NOT_NOVA and not each.name.endswith(("cannot see", "assistant's"))
    ),
    Known("the version of the schema", "litellm sends none", NOVA_PAGE, versions),
    Known("top_k", "litellm loses it", NOVA_PAGE, top_k),
)


# ---- Llama, InvokeModel ----


def no_equivalent(pair: Pair) -> None:
    """Ours refuses what a prompt cannot hold; litellm leaves it out, or writes it as JSON."""
    refused = str(pair.ours.get(REFUSED, ""))
    if refused.startswith(("tools", "messages", "n", "logprobs", "max_tokens")):
        pair.theirs = pair.ours


def prompt_limits(pair: Pair) -> None:
    """Take out the limit that litellm leaves to Bedrock: 512 tokens."""
    if not {"max_tokens", "max_completion_tokens"} & pair.given.keys() and "max_gen_len" not in pair.theirs:
        pair.ours.pop("max_gen_len", None)


def spelled_parts(pair: Pair) -> None:
    """Pass over a content in parts, which litellm writes into the prompt as Python would print it."""
    if "[{'type': '" in pair.theirs.get("prompt", ""):
        pair.theirs["prompt"] = pair.ours["prompt"]


def stripped(pair: Pair) -> None:
    """Take off the white space around texts, as litellm does, on both sides."""
    for text in (part["text"] for part in texts_of(pair.given) if part["text"] != part["text"].strip()):
        for side in (pair.ours, pair.theirs):
            side["prompt"] = side.get("prompt", "").replace(f"\n\n{text}<|eot", f"\n\n{text.strip()}<|eot")


def empty_turns(pair: Pair) -> None:
    """Take out turns in which litellm says nothing, or None: of blank messages, and of refusals."""
    if "prompt" in pair.theirs:
        pair.theirs["prompt"] = re.sub(_EMPTY_TURN, "", pair.theirs["prompt"])


def kept_refusals(pair: Pair) -> None:
    """Take out turns in which the assistant refused: litellm says None there."""
    for message in pair.given["messages"]:
        if (text := message.get("refusal")) and "prompt" in pair.ours:
            turn = f"<|start_header_id|>assistant<|end_header_id|>\n\n{text}<|eot_id|>"
            pair.ours["prompt"] = pair.ours["prompt"].replace(turn, "")


_EMPTY_TURN = re.compile(r"<\|start_header_id\|>(?:system|assistant)<\|end_header_id\|>\n\n(?:None)?<\|eot_id\|>")


def prompt_numbers(pair: Pair) -> None:
    """Take our numbers where the line's are above the model's, or have a name that litellm does not know here."""
    if "temperature=1" in pair.dropped:
        pair.theirs["temperature"] = 1
    if "top_k" in pair.dropped:
        pair.theirs.pop("top_k", None)
    if pair.given.get("max_completion_tokens") and "max_gen_len" not in pair.theirs:
        pair.ours.pop("max_gen_len", None)


LINES = "Amazon Bedrock user guide, Meta Llama models"
LLAMA: tuple[Known, ...] = (
    Known("what a prompt cannot hold", "litellm leaves it out", LINES, no_equivalent),
    Known("the limit that is not given", "the most; litellm leaves 512", LINES, prompt_limits),
    Known("contents in parts", "litellm prints the list", LINES, spelled_parts),
    Known("texts keep their white space", "litellm takes it off", LINES, stripped),
    Known("blank messages are left out", "litellm says nothing, or None", LINES, empty_turns),
    Known("refusals stay in the conversation", "litellm says None", LINES, kept_refusals),
    Known("numbers", "capped and recorded, or lost by litellm", LINES, prompt_numbers),
)
