"""Responses through chat: what differs from litellm's, and the record."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from proxy_plugin.providers.formats.openai.responses_answers import to_response
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from proxy_plugin.providers.formats.shapes import Answer, Translated
from tests.oracles import responses_lines
from tests.oracles.judging import Judged
from tests.oracles.litellm_side import litellm, module
from tests.oracles.meaning import REFUSED, Json, Known, Pair
from tests.oracles.sdk_types import UNKNOWN, openai_complaints, response_complaints

_CONFIG = module("litellm.responses.litellm_completion_transformation.transformation").LiteLLMCompletionResponsesConfig
_APART = ("metadata", "service_tier")  # litellm's handler passes these beside the request


class ResponsesPeer:
    """litellm's bridge from Responses to chat and back."""

    def request(self, body: Json, model: str) -> Json:
        """Return the chat body, or `{REFUSED: ...}`."""
        given = copy.deepcopy(body)
        apart = {key: given.pop(key) for key in _APART if key in given}
        try:
            found: Json = json.loads(
                json.dumps(
                    _CONFIG.transform_responses_api_request_to_chat_completion_request(
                        model=model, input=given.pop("input"), responses_api_request=given, **apart
                    )
                )
            )
        except Exception as error:  # noqa: BLE001 - whatever it raises is its way to refuse
            return {REFUSED: f"{type(error).__name__}: {str(error)[:200]}"}
        return found

    def answer(self, native: bytes, model: str) -> Json:
        """Return the Response, or `{REFUSED: ...}`."""
        del model  # the completion names it
        given = json.loads(native)
        asked = {key: value for key, value in given["request"].items() if key != "input"}
        try:
            made = _CONFIG.transform_chat_completion_response_to_responses_api_response(
                request_input=given["request"]["input"],
                responses_api_request=asked,
                chat_completion_response=litellm.ModelResponse(**given["completion"]),
            )
            found: Json = json.loads(made.model_dump_json())
        except Exception as error:  # noqa: BLE001 - see above
            return {REFUSED: f"{type(error).__name__}: {str(error)[:200]}"}
        return found


def translated(body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False) -> Translated:
    """Translate; the model stays in the body."""
    del model
    return to_chat(body, drop_params=drop_params, strict_params=strict_params)


def answered(native: bytes) -> Answer:
    """Return the Response to a body."""
    given = json.loads(native)
    request = json.dumps(given["request"]).encode()
    return to_response(json.dumps(given["completion"]).encode(), request=request)


# ---- requests ----


def canonical(body: Json) -> Json:
    """Return a chat body in its longest spelling."""
    made = {key: value for key, value in body.items() if key not in ("custom_llm_provider", "stream")}
    made["messages"] = [_message(each) for each in made["messages"]]
    if "max_tokens" in made:
        made["max_completion_tokens"] = made.pop("max_tokens")
    if isinstance(search := made.get("web_search_options"), dict):
        made["web_search_options"] = {key: value for key, value in search.items() if value is not None}
    if "tools" in made:
        made["tools"] = [_tool(each) for each in made["tools"]]
    return made


def _message(message: Json) -> Json:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()]
    rest = {key: message[key] for key in ("tool_call_id", "reasoning_content") if message.get(key)}
    return {"role": message["role"], "content": [_part(each) for each in parts], "calls": calls, **rest}


def _part(part: Json) -> Json:
    if part["type"] != "image_url":
        return part
    image = {key: value for key, value in part["image_url"].items() if (key, value) != ("detail", "auto")}
    return {"type": "image_url", "image_url": image}


def _tool(tool: Json) -> Json:
    if tool.get("type") != "function":
        return tool
    function = {"parameters": {"type": "object"}, **tool["function"]}
    return {key: value for key, value in function.items() if value not in (False, "", None)}


# What ours hands to the next step, which no type of OpenAI's chat knows; whoever translates the chat reads, records or
# refuses it, so that the reason names the caller's field.
HANDED_ON = {
    "reasoning_summary": "reasoning.summary: Claude and Gemini show their thoughts for it, others record a hint",
    "messages[].content[].file.file_url": "file_url of input_file: Claude and Gemini fetch it, others refuse it",
}


def complaints(body: Json) -> list[str]:
    """Check a chat body by OpenAI's types, but for what is handed on."""
    found = openai_complaints(body)
    return [each for each in found if re.sub(r"\[\d+\]", "[]", each.removeprefix(UNKNOWN)) not in HANDED_ON]


def refused(*starts: str) -> Any:
    """Return the difference that ours refuses a line for one of these fields, and litellm does not."""

    def rewrite(pair: Pair) -> None:
        if str(pair.ours.get(REFUSED)).startswith(starts):
            pair.theirs = pair.ours

    return rewrite


def refusals(pair: Pair) -> None:
    """Take out what the assistant refused with, which litellm leaves out."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            message["content"] = [part for part in message["content"] if part["type"] != "refusal"]


def thoughts(pair: Pair) -> None:
    """Take out earlier thoughts, which litellm sends as an extension; ours records them where the turn goes on."""
    for message in pair.theirs.get("messages", ()):
        message.pop("reasoning_content", None)


def passed_on(pair: Pair) -> None:
    """Take out what ours hands to the next step, which maps it, records it or refuses it; litellm leaves it out."""
    keys = ("verbosity", "prompt_cache_key", "reasoning_summary", "parallel_tool_calls", "tool_choice")
    for key in (*keys, "logprobs", "top_logprobs"):
        if key in pair.ours and key not in pair.theirs:
            del pair.ours[key]


def addressed(pair: Pair) -> None:
    """Take out files by address, which ours hands on as `file_url`: a chat of OpenAI's has no word for them."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            message["content"] = [part for part in message["content"] if "report.pdf" not in _address(part)]


def _address(part: Json) -> str:
    file = part.get("file")
    return str(file.get("file_url") or file.get("file_id") or "") if isinstance(file, dict) else ""


def allowed(pair: Pair) -> None:
    """Take the tools that may be used, to which ours cuts the list; litellm passes OpenAI's object on."""
    choice = pair.given.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools" and pair.theirs.get("tool_choice") == choice:
        names = [each["name"] for each in choice["tools"]]
        pair.theirs["tools"] = [tool for tool in pair.theirs["tools"] if tool["name"] in names]
        pair.theirs["tool_choice"] = choice["mode"]


def described(pair: Pair) -> None:
    """Take `text` for no format: it is the default."""
    if pair.ours.get("response_format") == {"type": "text"}:
        del pair.ours["response_format"]


def unstrict(pair: Pair) -> None:
    """Take out `strict: false`, which litellm sends."""
    for side in (pair.ours, pair.theirs):
        form = side.get("response_format", {}).get("json_schema", {})
        if form.get("strict") is False:
            del form["strict"]


def joined(pair: Pair) -> None:
    """Join the texts of a tool's result, as litellm does."""
    for side in (pair.ours, pair.theirs):
        for message in side.get("messages", ()):
            if message["role"] == "tool":
                message["content"] = "".join(part["text"] for part in message["content"])


PAGE = "OpenAI API reference, Create a response"
REQUESTS: tuple[Known, ...] = (
    Known("tools that OpenAI runs are refused", "litellm passes them on, or leaves them out", PAGE, refused("tools")),
    Known("items of OpenAI's own", "refused; litellm leaves them out", PAGE, refused("input")),
    Known("what is stored at OpenAI", "refused; litellm looks into its own database", PAGE, refused("previous")),
    Known("refusals stay in the conversation", "litellm leaves them out", PAGE, refusals),
    Known("earlier thoughts", "a chat has no place for them: recorded if the turn goes on", PAGE, thoughts),
    Known("what the next step judges", "litellm leaves it out", PAGE, passed_on),
    Known("files by address", "handed on as file_url", PAGE, addressed),
    Known("allowed tools", "the list is cut; litellm passes OpenAI's object on", PAGE, allowed),
    Known("text is the default format", "litellm leaves it out", PAGE, described),
    Known("strict false", "litellm always sends it", PAGE, unstrict),
    Known("texts of results stay apart", "litellm joins them", PAGE, joined),
)


# ---- answers ----


def said(response: Json) -> Json:
    """Return what a caller reads from a Response."""
    usage = response.get("usage") or {}
    return {
        "model": response["model"],
        "status": response["status"],
        "incomplete": (response.get("incomplete_details") or {}).get("reason"),
        "output": [_item(each) for each in response["output"]],
        "echo": {key: _echoed(response[key]) for key in _ECHO if response.get(key) not in (None, {}, [])},
        "usage": {
            "prompt": usage.get("input_tokens"),
            "completion": usage.get("output_tokens"),
            "total": usage.get("total_tokens"),
            "cached": (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
            "reasoning": (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        },
    }


_ECHO = (
    "instructions", "metadata", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p",
    "max_output_tokens", "reasoning", "text", "truncation", "user",
)  # fmt: skip


def _echoed(value: Any) -> Any:
    """Return what is repeated, without members that say nothing: the types of both name more than was asked."""
    if isinstance(value, list):
        return [_echoed(each) for each in value]
    if isinstance(value, dict):
        kept = {key: _echoed(each) for key, each in value.items() if each is not None}
        return {key: each for key, each in kept.items() if (key, each) != ("strict", False)}
    return value


def _item(item: Json) -> Json:
    if item["type"] == "function_call":
        return {key: item[key] for key in ("type", "call_id", "name", "arguments", "status")}
    parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
    words = [part.get("text") or part.get("refusal") or "" for part in parts]
    return {"type": item["type"], "words": words, "status": item.get("status")}


def unspoken(pair: Pair) -> None:
    """Take out texts that are empty beside calls, which litellm makes a message of."""
    if "output" in pair.theirs and len(pair.theirs["output"]) > len(pair.ours["output"]):
        pair.theirs["output"] = [each for each in pair.theirs["output"] if each.get("words") != [""]]


def refused_words(pair: Pair) -> None:
    """Take out a refusal, which litellm loses."""
    refusal = pair.given["completion"]["choices"][0]["message"].get("refusal")
    if refusal:
        pair.ours["output"] = [each for each in pair.ours["output"] if each.get("words") != [refusal]]


def states(pair: Pair) -> None:
    """Take out the state of thoughts, which ours does not name, and of items before one that was cut off."""
    for ours, theirs in zip(pair.ours["output"], pair.theirs.get("output", ()), strict=False):
        if ours["type"] == "reasoning":
            ours["status"] = theirs["status"] = None


def defaults(pair: Pair) -> None:
    """Take out what a response tells of options that were not given: ours the API's defaults, litellm others."""
    asked = pair.given["request"]
    for side in (pair.ours, pair.theirs):
        if asked.get("parallel_tool_calls") is None:
            side["echo"].pop("parallel_tool_calls", None)
        text = side["echo"].get("text", {})
        if (asked.get("text") or {}).get("format") is None and text.get("format") == {"type": "text"}:
            del side["echo"]["text"]


ANSWERS: tuple[Known, ...] = (
    Known("an empty text beside calls is none", "litellm makes a message of it", PAGE, unspoken),
    Known("refusals are told", "litellm loses them", PAGE, refused_words),
    Known("thoughts have no state", "litellm names one", PAGE, states),
    Known("defaults are told", "litellm tells others, or none", PAGE, defaults),
)
RESPONSES = Judged(
    name="Responses through chat",
    models=("m",),
    translate=translated,
    peer=ResponsesPeer(),
    canonical=canonical,
    complaints=complaints,
    requests=REQUESTS,
    results=responses_lines.results,
    answer=answered,
    answers=ANSWERS,
    lines=responses_lines.bodies,
    encode=responses_lines.encoded,
    said=said,
    answer_complaints=response_complaints,
)
