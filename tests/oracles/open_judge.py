"""Bedrock's chat-shaped and prompt-shaped models: what differs from litellm's, and native answers to be read."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from tests.oracles.anthropic_judge import content_of, is_blank, refusing
from tests.oracles.bedrock_answers import models
from tests.oracles.bedrock_judge import no_equivalent
from tests.oracles.lines import ARGUMENTS, NAMES, TEXTS
from tests.oracles.meaning import REFUSED, Json, Known, Pair
from tests.oracles.real_types import real_types

PAGE = "Amazon Bedrock user guide, OpenAI models"
MISTRAL_PAGE = "Amazon Bedrock user guide, Mistral AI chat completion"
TEXT_PAGE = "Amazon Bedrock user guide, Mistral AI text completion"
R1_PAGE = "Amazon Bedrock user guide, DeepSeek models"

# ---- the shape of a chat body ----


def canonical(body: Json) -> Json:
    """Return a chat body in its longest spelling, without a model: the address names it."""
    made = {key: value for key, value in body.items() if key not in ("model", "stream", "extra_body")}
    made["messages"] = [_message(each) for each in made["messages"]]
    if "max_completion_tokens" in made:
        made["max_tokens"] = made.pop("max_completion_tokens")
    if isinstance(made.get("stop"), str):
        made["stop"] = [made["stop"]]
    if made.get("tools"):
        made["tools"] = [_tool(each) for each in made["tools"]]
    return made


def _message(message: Json) -> Json:
    role = "system" if message["role"] == "developer" else message["role"]
    parts = content_of(message)
    kept = {key: message[key] for key in ("tool_call_id", "refusal") if message.get(key)}
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()]
    return {"role": role, "content": [part for part in parts if part.get("text") != ""], "calls": calls, **kept}


def _tool(tool: Json) -> Json:
    function = {"parameters": {"type": "object", "properties": {}}, **tool["function"]}
    return {key: value for key, value in function.items() if (key, value) != ("strict", False)}


def dropped(*names: str) -> Any:
    """Return the difference that ours leaves a member out and writes it down, and litellm sends it."""

    def rewrite(pair: Pair) -> None:
        for name in names:
            if name in pair.dropped and name not in pair.ours:
                pair.theirs.pop(name, None)

    return rewrite


def refusals(pair: Pair) -> None:
    """Take the text of a refusal for the member of that name, which litellm passes on or leaves out."""
    said = {message["refusal"] for message in pair.given["messages"] if message.get("refusal")}
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            if message.pop("refusal", "") or [part.get("text") for part in message["content"]] == [*said]:
                message["content"] = []
        kept = [each for each in side.get("messages", ()) if each["role"] != "assistant" or _says(each)]
        if "messages" in side:
            side["messages"] = kept


def _says(message: Json) -> bool:
    return bool(message["content"] or message["calls"])


def blank(pair: Pair) -> None:
    """Take out messages that say nothing, which ours leaves out; or pass over ones that it refuses."""
    if str(pair.ours.get(REFUSED)).startswith("messages[") and any(map(is_blank, pair.given["messages"])):
        pair.theirs = pair.ours
    for side in (pair.ours, pair.theirs):
        if "messages" in side:
            kept = ("user", "tool")
            side["messages"] = [each for each in side["messages"] if each["role"] in kept or _says(each)]


def unseen(pair: Pair) -> None:
    """Ours refuses a content part that the model cannot take."""
    if re.match(r"messages\[\d+\]\.content\[", str(pair.ours.get(REFUSED))):
        pair.theirs = pair.ours


def thinking(pair: Pair) -> None:
    """Take out how much to think, which litellm leaves out for models that it does not know to think."""
    if pair.ours.get("reasoning_effort") and "reasoning_effort" not in pair.theirs:
        del pair.ours["reasoning_effort"]


def neutral(pair: Pair) -> None:
    """Take out what says what is so anyway."""
    for key, value in (("n", 1), ("service_tier", "auto"), ("store", False), ("logprobs", False)):
        if key not in pair.ours and pair.theirs.get(key) == value and pair.given.get(key) == value:
            del pair.theirs[key]
    for key in ("frequency_penalty", "presence_penalty"):
        if pair.given.get(key) == 0 and key not in pair.ours:
            pair.theirs.pop(key, None)


def untyped(pair: Pair) -> None:
    """Take out `strict` of an answer's schema: it is always so there."""
    form = pair.theirs.get("response_format", {}).get("json_schema", {})
    if form.get("strict") is True and "response_format" in pair.ours:
        del form["strict"]


def details(pair: Pair) -> None:
    """Take out the detail of pictures that ours leaves out, and writes down where it asks for anything."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            for part in message["content"]:
                if part.get("type") == "image_url":
                    part["image_url"].pop("detail", None)


def untooled(pair: Pair) -> None:
    """Take out a choice among no tools, and `parallel_tool_calls` that asks for what is so anyway."""
    if pair.given.get("parallel_tool_calls") is True:
        pair.theirs.pop("parallel_tool_calls", None)


OPEN: tuple[Known, ...] = (
    Known("n above 1 is refused", "one answer to a record; litellm sends it", PAGE, refusing("n")),
    Known("logprobs are refused", "not documented for Bedrock; litellm sends them", PAGE, refusing("logprobs")),
    Known("two limits that differ are refused", "litellm sends both", PAGE, refusing("max_tokens")),
    Known("a last message of the assistant's", "not documented; litellm sends it", PAGE, refusing("messages")),
    Known("pictures, files and sound", "refused where the model has no eyes", PAGE, unseen),
    Known("blank messages", "refused or left out; litellm sends them", PAGE, blank),
    Known("refusals become what was said", "litellm passes the member on", PAGE, refusals),
    Known("what these models do not have", "left out and recorded", PAGE, dropped(
        "parallel_tool_calls", "response_format", "user", "metadata", "top_k", "seed", "frequency_penalty",
        "presence_penalty", "logit_bias", "reasoning_effort", "service_tier",
    )),
    Known("how much to think", "litellm leaves it out", PAGE, thinking),
    Known("what is so anyway is not sent", "litellm sends it", PAGE, neutral),
    Known("parallel calls are the default", "litellm sends true", PAGE, untooled),
    Known("answers keep their schema strictly", "litellm sends strict", PAGE, untyped),
    Known("pictures go as what they are", "recorded; litellm sends the type that is said", PAGE, real_types),
    Known("detail of pictures", "left out, recorded if it asks for something", PAGE, details),
)  # fmt: skip


# ---- Mistral's chat ----


def choices(pair: Pair) -> None:
    """Take `any`, which ours writes down for a named tool; litellm leaves the choice out."""
    if "tool_choice=any" in pair.dropped and pair.ours.get("tool_choice") == "any":
        pair.theirs["tool_choice"] = "any"


def cleaned(pair: Pair) -> None:
    """Compare schemas without what litellm takes out of them for Mistral's own API."""
    for side in (pair.ours, pair.theirs):
        for tool in side.get("tools", ()):
            tool["parameters"] = {
                key: value for key, value in tool["parameters"].items() if key != "additionalProperties"
            }
            tool.pop("strict", None)


def warm(pair: Pair) -> None:
    """Take the 1 that ours writes down for more."""
    if "temperature=1" in pair.dropped:
        pair.theirs["temperature"] = 1


def capped(pair: Pair) -> None:
    """Take the model's own limit for one above it."""
    most = pair.ours.get("max_tokens")
    if {f"max_tokens={most}", f"max_completion_tokens={most}"} & set(pair.dropped):
        pair.theirs["max_tokens"] = most


def joined_texts(pair: Pair) -> None:
    """Join the texts of a message, as litellm does for Mistral."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            if all(part["type"] == "text" for part in message["content"]):
                message["content"] = "".join(part["text"] for part in message["content"])


def empty_results(pair: Pair) -> None:
    """Take out results of tools that say nothing: litellm leaves the message out, and its call without an answer."""
    for side in (pair.ours, pair.theirs):
        if "messages" in side:
            side["messages"] = [each for each in side["messages"] if each["role"] != "tool" or each["content"]]


_NOT_MISTRAL = ("what is so anyway", "detail", "pictures go", "answers keep", "how much")
MISTRAL_CHAT: tuple[Known, ...] = (
    *(each for each in OPEN if not each.name.startswith(_NOT_MISTRAL)),
    Known("a named tool", "any, recorded; litellm leaves the choice out", MISTRAL_PAGE, choices),
    Known("schemas stay whole", "litellm takes additionalProperties out", MISTRAL_PAGE, cleaned),
    Known("temperature above 1", "the page says 0 to 1: capped and recorded", MISTRAL_PAGE, warm),
    Known("a limit above the model's", "capped and recorded", MISTRAL_PAGE, capped),
    Known("stop sequences", "none on the page: left out and recorded", MISTRAL_PAGE, dropped("stop")),
    Known("empty results of tools stay", "litellm leaves the message out", MISTRAL_PAGE, empty_results),
    Known("texts of a message stay apart", "litellm joins them", MISTRAL_PAGE, joined_texts),
)


# ---- prompts ----


def spelled_parts(pair: Pair) -> None:
    """Pass over contents in parts: litellm prints them as Python would, or fails."""
    in_parts = any(not isinstance(each.get("content"), str | None) for each in pair.given["messages"])
    if in_parts and ("[{'type': '" in pair.theirs.get("prompt", "") or REFUSED in pair.theirs):
        pair.theirs = pair.ours


def spaced(pair: Pair) -> None:
    """Compare prompts without the line breaks that litellm puts behind [/INST]; the page shows spaces."""
    if "prompt" in pair.theirs and "prompt" in pair.ours:
        pair.theirs["prompt"] = pair.theirs["prompt"].replace("[/INST]\n", "[/INST]")


def silent_turns(pair: Pair) -> None:
    """Take out turns in which litellm says nothing: of blank messages, which ours leaves out."""
    if "prompt" in pair.theirs and any(map(is_blank, pair.given["messages"])):
        pair.theirs["prompt"] = re.sub(_SILENT, "", pair.theirs["prompt"])


_SILENT = re.compile(
    r"\[INST\]\s*\[/INST\]\s*| \s*</s> |(?<=begin▁of▁sentence｜>)\s+(?=<｜User)|<｜Assistant｜>\s*<｜end▁of▁sentence｜>"
)


def numbers_of_llama(pair: Pair) -> None:
    """Take the names of DeepSeek's page: litellm uses those of imported models, which are Llama's, without stop."""
    if "max_gen_len" in pair.theirs:
        pair.theirs["max_tokens"] = pair.theirs.pop("max_gen_len")
    if "top_k" in pair.dropped:
        pair.theirs.pop("top_k", None)
    if "stop" not in pair.theirs:
        pair.ours.pop("stop", None)


def prompt_numbers(pair: Pair) -> None:
    """Take our numbers where the line's are above the model's, or under a name that litellm does not know here."""
    if "temperature=1" in pair.dropped:
        pair.theirs["temperature"] = 1
    capped(pair)
    if pair.given.get("max_completion_tokens") and "max_tokens" not in pair.theirs:
        pair.ours.pop("max_tokens", None)


def unlimited(pair: Pair) -> None:
    """Take out the limit that litellm leaves to Bedrock, 512 tokens for some."""
    if not {"max_tokens", "max_completion_tokens"} & pair.given.keys() and "max_tokens" not in pair.theirs:
        pair.ours.pop("max_tokens", None)


def listed(pair: Pair) -> None:
    """Take a stop sequence for a list of one, as the page has it."""
    if isinstance(pair.theirs.get("stop"), str):
        pair.theirs["stop"] = [pair.theirs["stop"]]


def unturned(pair: Pair) -> None:
    """Pass over what has no place in a prompt of user and assistant in turn: ours refuses it."""
    no_equivalent(pair)


def reclaimed(pair: Pair) -> None:
    """Take out refusals: litellm says None in a turn of Mistral's, and leaves R1's out."""
    said = {message["refusal"] for message in pair.given["messages"] if message.get("refusal")}
    for text in said if "prompt" in pair.ours else ():
        for side, words in ((pair.ours, text), (pair.theirs, "None")):
            bare = side["prompt"].replace(f" {words}</s> ", "")
            side["prompt"] = bare.replace(f"<｜Assistant｜>{words}<｜end▁of▁sentence｜>", "")


PROMPT: tuple[Known, ...] = (
    Known("what a prompt cannot hold", "refused; litellm leaves it out or joins it", TEXT_PAGE, unturned),
    Known("refusals stay in the conversation", "litellm says None", TEXT_PAGE, reclaimed),
    Known("blank messages are left out", "litellm says nothing in them", TEXT_PAGE, silent_turns),
    Known("a space behind each question", "litellm sends a line break, too", TEXT_PAGE, spaced),
    Known("numbers", "capped and recorded, or lost by litellm", TEXT_PAGE, prompt_numbers),
    Known("the limit that is not given", "the most; litellm leaves 512", TEXT_PAGE, unlimited),
    Known("stop is a list", "litellm sends a text as it is", TEXT_PAGE, listed),
)
R1: tuple[Known, ...] = (
    Known("what a prompt cannot hold", "refused; litellm leaves it out or joins it", R1_PAGE, unturned),
    Known("contents in parts", "litellm fails, or prints the list", R1_PAGE, spelled_parts),
    Known("refusals stay in the conversation", "litellm leaves them out", R1_PAGE, reclaimed),
    Known("blank messages are left out", "litellm says nothing in them", R1_PAGE, silent_turns),
    Known("the names of the page", "litellm uses Llama's, and leaves stop out", R1_PAGE, numbers_of_llama),
    Known("numbers", "capped and recorded, or lost by litellm", R1_PAGE, prompt_numbers),
    Known("the limit that is not given", "the most; litellm leaves the service's", R1_PAGE, unlimited),
)


# ---- answers ----


def chat_results(count: int, seed: int) -> Iterator[Json]:
    """Yield chat completions: text, calls, thoughts beside the answer and before it, cut and filtered answers."""
    dice = random.Random(seed)
    for number in range(count):
        message, reason = _CHAT_KINDS[number % len(_CHAT_KINDS)](dice)
        yield {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "gpt",
            "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}],
            "usage": _usage(dice),
        }


def _usage(dice: random.Random) -> Json:
    asked, answered = dice.randint(1, 9000), dice.randint(1, 9000)
    usage: Json = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    if dice.random() < 0.3:
        usage["prompt_tokens_details"] = {"cached_tokens": dice.randint(0, asked)}
        usage["completion_tokens_details"] = {"reasoning_tokens": dice.randint(0, answered)}
    return usage


def _spoken(dice: random.Random) -> tuple[Json, str]:
    return {"content": dice.choice(TEXTS), "refusal": None}, dice.choice(("stop", "stop", "length", "content_filter"))


def _thought(dice: random.Random) -> tuple[Json, str]:
    return {"content": dice.choice(TEXTS), "reasoning_content": dice.choice(TEXTS)}, "stop"


def _tagged(dice: random.Random) -> tuple[Json, str]:
    tag = dice.choice(("reasoning", "think"))
    return {"content": f"<{tag}>{dice.choice(TEXTS[:5])}</{tag}>{dice.choice(TEXTS[:5])}"}, "stop"


def _called(dice: random.Random) -> tuple[Json, str]:
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": dice.choice(NAMES), "arguments": dice.choice(ARGUMENTS)},
        }
        for number in range(dice.randint(1, 3))
    ]
    return {"content": dice.choice((None, "", "Let me look.")), "tool_calls": calls}, "tool_calls"


_CHAT_KINDS = (_spoken, _thought, _tagged, _called)


def mistral_results(count: int, seed: int) -> Iterator[Json]:
    """Yield Mistral's answers to chats: `stop_reason`, and no counts, as on Bedrock's page."""
    for given in chat_results(count, seed):
        choice = given["choices"][0]
        reason = choice.pop("finish_reason")
        choice["stop_reason"] = reason if reason != "content_filter" else "stop"
        yield {"choices": [choice]}


def text_results(count: int, seed: int) -> Iterator[Json]:
    """Yield Mistral's answers to prompts."""
    dice = random.Random(seed)
    for _ in range(count):
        yield {"outputs": [{"text": dice.choice((*TEXTS, "")), "stop_reason": dice.choice(("stop", "length"))}]}


def r1_results(count: int, seed: int) -> Iterator[Json]:
    """Yield DeepSeek-R1's: the thought that the prompt has opened, its end, and the answer."""
    dice = random.Random(seed)
    for number in range(count):
        thought = f"{dice.choice(TEXTS[:5])}\n</think>\n\n" if number % 4 else ""
        yield {"choices": [{"text": thought + dice.choice(TEXTS[:5]), "stop_reason": dice.choice(("stop", "length"))}]}


def tagged(pair: Pair) -> None:
    """Take the thought out of the text, where litellm leaves it."""
    for ours, theirs in zip(pair.ours["choices"], pair.theirs.get("choices", ()), strict=False):
        found = re.fullmatch(r"<(reasoning|think)>(.*?)</\1>(.*)", theirs["content"], re.DOTALL)
        if found and found[2].strip() == ours["reasoning"].strip() and found[3].strip() == ours["content"].strip():
            theirs |= {"reasoning": ours["reasoning"], "content": ours["content"]}


def uncounted(pair: Pair) -> None:
    """Take out counts, which the answers do not tell: litellm estimates them with a tokenizer, or from headers."""
    if "usage" not in pair.given and "usage" in pair.theirs:
        pair.theirs["usage"] = pair.ours["usage"]


def unclosed(pair: Pair) -> None:
    """Take a text without an end of the thought for the answer, as ours does; litellm puts a tag before it."""
    if "</think>" not in json.dumps(pair.given):
        for choice in pair.theirs.get("choices", ()):
            choice["content"] = choice["content"].removeprefix("<think>")


def ends(pair: Pair) -> None:
    """Take the reason of the end, which litellm looks for under another name."""
    for ours, theirs in zip(pair.ours["choices"], pair.theirs.get("choices", ()), strict=False):
        theirs["finish_reason"] = ours["finish_reason"]


def empty(pair: Pair) -> None:
    """Pass over an empty answer, for which litellm raises an error."""
    if REFUSED in pair.theirs and '""' in json.dumps(pair.given.get("outputs")):
        pair.theirs = pair.ours


def trimmed(pair: Pair) -> None:
    """Compare thoughts and answers of R1 without the white space around them."""
    for side in (pair.ours, pair.theirs):
        for choice in side.get("choices", ()):
            choice |= {key: choice[key].strip() for key in ("reasoning", "content")}


MODEL = Known("the model is the job's", "litellm writes its route before it", PAGE, models)
CHAT_ANSWERS: tuple[Known, ...] = (Known("thoughts in tags", "litellm leaves them in the text", PAGE, tagged),)
MISTRAL_ANSWERS: tuple[Known, ...] = (
    MODEL,
    Known("thoughts in tags", "litellm leaves them in the text", PAGE, tagged),
    Known("no counts", "the answer has none; litellm says 0 or estimates", MISTRAL_PAGE, uncounted),
    Known("the end is stop_reason", "litellm looks for finish_reason", MISTRAL_PAGE, ends),
)
TEXT_ANSWERS: tuple[Known, ...] = (
    MODEL,
    Known("an empty answer is one", "litellm raises an error", TEXT_PAGE, empty),
    Known("no counts", "the answer has none; litellm estimates", TEXT_PAGE, uncounted),
)
R1_ANSWERS: tuple[Known, ...] = (
    MODEL,
    Known("no counts", "the answer has none; litellm estimates", R1_PAGE, uncounted),
    Known("the end is stop_reason", "litellm reads none", R1_PAGE, ends),
    Known("white space around thoughts", "litellm keeps it", R1_PAGE, trimmed),
    Known("a thought without an end", "the answer; litellm puts a tag before it", R1_PAGE, unclosed),
)
