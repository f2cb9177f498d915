"""A Responses body as a chat body, for every lane that has no Responses API.

Shapes: `responses.create` and `chat.completions.create` of OpenAI's SDK 3.52. The way is Responses -> chat -> the
provider's format, and back through `responses_answers`; the second step translates or refuses what a chat can say, so
this one passes on all that a chat body has a word for.

A lane keeps nothing: what refers to stored responses, conversations and prompts is refused. Tools that OpenAI runs
itself are refused too, whatever the route allows: an answer without them is another answer.
"""

from __future__ import annotations

from typing import Any

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bodies import Block, leftovers, read_object
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.responses_items import read_items
from proxy_plugin.providers.formats.shapes import Translated

PROVIDER = "the chat API of this lane"
_COPIED = (
    "temperature", "top_p", "top_k", "parallel_tool_calls", "metadata", "user", "safety_identifier", "service_tier",
    "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_control",
    # Extensions that a chat body has, see `gemini.requests`.
    "safety_settings", "cached_content", "labels", "thinking", "extra_body",
)  # fmt: skip
_TRANSLATED = frozenset(
    {
        *_COPIED, "model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens",
        "include", "top_logprobs",
        # Of tools that OpenAI runs itself, and of streams: neither can be here.
        "max_tool_calls", "stream_options",
    }
)  # fmt: skip
_PLAIN = frozenset({"model", "input", "instructions", "max_output_tokens"})
_WITH_NUMBERS = ("tools", "text", "temperature", "top_p")
# Values that ask for what happens anyway.
_SAME: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "background": (False,),
    "store": (False,),
    "truncation": ("disabled",),
}
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
_NEVER = {
    "previous_response_id": "this lane keeps no responses; send the earlier items in input",
    "conversation": "this lane keeps no conversations; send the earlier items in input",
    "prompt": "this lane keeps no prompts; send instructions and input",
    "background": "every line of a batch runs in the background; remove it",
    "stream": "answers of a batch are not streamed; remove it",
    "moderation": "this lane returns no moderation results; remove it",
}
_TOOL = frozenset({"type", "name", "description", "parameters", "strict", "cache_control"})
_SEARCHES = ("web_search", "web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11")
_SAME_TOOL: dict[str, tuple[object, ...]] = {
    "async": (False,),
    "defer_loading": (False,),
    "allowed_callers": (["direct"],),
}
_FORMAT = frozenset({"type", "name", "description", "schema", "strict"})
_SAME_REASONING: dict[str, tuple[object, ...]] = {
    "context": ("auto",),
    "mode": ("standard",),
}
# Ask for parts of results that only OpenAI's own tools have.
_OF_TOOLS = ("file_search_call.", "web_search_call.", "code_interpreter_call.", "computer_call_output.")


def to_chat(body: bytes, *, drop_params: bool, strict_params: bool = False) -> Translated:
    """Translate a Responses body. Raises LineRejected, for any JSON object nothing else."""
    given = read_object(body, _WITH_NUMBERS)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    _check_rest(given, losses)
    chat: Block = {} if given.get("model") is None else {"model": given["model"]}
    chat["messages"] = read_items(given.get("input"), given.get("instructions"), losses)
    if (limit := given.get("max_output_tokens")) is not None:
        if type(limit) is not int or limit < 1:
            raise rejected("max_output_tokens", "must be a whole number above 0")
        chat["max_completion_tokens"] = limit
    if not given.keys() <= _PLAIN:
        _add_options(chat, given, losses)
    try:
        return Translated(write(chat), losses.settled())
    except ValueError as error:
        raise LineRejected(f"body is {error}", code="invalid_value", param="body") from None


def _check_rest(given: Block, losses: Losses) -> None:
    """Refuse or note every parameter that has no place in a chat body."""
    if given.keys() <= _TRANSLATED:
        return
    left = leftovers(given, losses, same=_SAME, never=_NEVER)
    if left.pop("store", None):
        losses.add("store", "this lane keeps no responses", "Send false")
    if left.pop("truncation", None) is not None:
        losses.add("truncation", "an input that is too long is refused here", "Send disabled")
    losses.add_unknown(left, _TRANSLATED)


def _add_options(chat: Block, given: Block, losses: Losses) -> None:
    for key in _COPIED:
        if given.get(key) is not None:
            chat[key] = given[key]
    if given.get("tools") or given.get("tool_choice") is not None:
        _add_tools(chat, given, losses)
    if given.get("text") is not None:
        _add_text(chat, _object(given["text"], "text"), losses)
    if given.get("reasoning") is not None:
        _add_reasoning(chat, _object(given["reasoning"], "reasoning"), losses)
    if given.get("include"):
        _add_included(chat, given["include"], losses)
    if given.get("top_logprobs"):
        chat["logprobs"], chat["top_logprobs"] = True, given["top_logprobs"]


def _add_tools(chat: Block, given: Block, losses: Losses) -> None:
    tools = given.get("tools") or []
    if not isinstance(tools, list):
        raise rejected("tools", "must be a list", "invalid_type")
    functions = []
    for number, tool in enumerate(tools):
        if isinstance(tool, dict) and tool.get("type") in _SEARCHES:
            chat["web_search_options"] = _search(tool, f"tools[{number}]", losses)
        else:
            functions.append(_function(tool, f"tools[{number}]", losses))
    if "web_search_options" in chat and given.get("max_tool_calls") is not None:
        losses.add("max_tool_calls", "searches of this lane are not counted", "Remove it")
    choice = given.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        functions, choice = _allowed(functions, choice)
    elif isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": _function_name(choice, "tool_choice")}}
    if functions:
        chat["tools"] = functions
    if choice is not None:
        chat["tool_choice"] = choice


def _search(tool: Block, path: str, losses: Losses) -> Block:
    """Return a web search as chat's option: lanes whose service searches run it, others refuse it."""
    losses.add_unknown(tool, frozenset({"type", "search_context_size", "user_location"}), path)
    options: Block = {key: tool[key] for key in ("search_context_size",) if tool.get(key) is not None}
    if (location := tool.get("user_location")) is not None:
        place = {key: value for key, value in _object(location, f"{path}.user_location").items() if key != "type"}
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options


def _function(tool: object, path: str, losses: Losses) -> Block:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise rejected(path, "this lane runs functions and web search alone", "unsupported_value")
    left = {key: value for key, value in tool.items() if value not in _SAME_TOOL.get(key, ())}
    losses.add_unknown(left, _TOOL, path)
    names = ("name", "description", "parameters", "strict", "cache_control")
    return {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}


def _allowed(functions: list[Block], choice: Block) -> tuple[list[Block], Any]:
    """Return the tools that may be used, and how: no other form says it on every lane."""
    path = "tool_choice.tools"
    allowed = choice.get("tools")
    if not isinstance(allowed, list) or not allowed:
        raise rejected(path, "must be a list of tools", "invalid_type")
    names = [_function_name(tool, f"{path}[{number}]") for number, tool in enumerate(allowed)]
    known = [function["function"].get("name") for function in functions]
    if not set(names) <= {name for name in known if isinstance(name, str)}:
        raise rejected(path, "names a function that is not among the tools")
    kept = [function for function, name in zip(functions, known, strict=True) if name in names]
    return kept, choice.get("mode")


def _function_name(given: object, path: str) -> str:
    name = given.get("name") if isinstance(given, dict) and given.get("type") == "function" else None
    if not isinstance(name, str) or not name:
        raise rejected(path, "must be a word or name one function", "unsupported_value")
    return name


def _add_text(chat: Block, text: Block, losses: Losses) -> None:
    losses.add_unknown(text, frozenset({"format", "verbosity"}), "text")
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    if text.get("format") is None:
        return
    form = _object(text["format"], "text.format")
    kind = form.get("type")
    if kind in ("text", "json_object"):
        losses.add_unknown(form, frozenset({"type"}), "text.format")
        chat["response_format"] = {"type": kind}
    elif kind == "json_schema":
        losses.add_unknown(form, _FORMAT, "text.format")
        schema = {name: value for name, value in form.items() if name in _FORMAT - {"type"} and value is not None}
        chat["response_format"] = {"type": kind, "json_schema": schema}
    else:
        raise rejected("text.format.type", "must be text, json_object or json_schema")


def _add_reasoning(chat: Block, reasoning: Block, losses: Losses) -> None:
    left = {key: value for key, value in reasoning.items() if value not in _SAME_REASONING.get(key, ())}
    losses.add_unknown(left, frozenset({"effort", "summary", "generate_summary"}), "reasoning")
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]
    if summary := reasoning.get("summary") or reasoning.get("generate_summary"):
        chat["reasoning_summary"] = summary  # no word of OpenAI's chat: a format shows its thoughts, or notes a hint


def _add_included(chat: Block, include: object, losses: Losses) -> None:
    if not isinstance(include, list):
        raise rejected("include", "must be a list", "invalid_type")
    for number, wanted in enumerate(include):
        path = f"include[{number}]"
        if wanted == "message.output_text.logprobs":
            chat["logprobs"] = True
        elif wanted == "reasoning.encrypted_content":
            losses.hint(path, "this lane has no encrypted reasoning", "Remove it")
        elif wanted == "web_search_call.action.sources" and "web_search_options" in chat:
            losses.hint(path, "this lane tells the sources in annotations", "Remove it")
        elif not isinstance(wanted, str) or not wanted.startswith(_OF_TOOLS):
            losses.add(path, f"{PROVIDER} has no equivalent", "Remove it")


def _object(given: object, path: str) -> Block:
    if not isinstance(given, dict):
        raise rejected(path, "must be an object", "invalid_type")
    return given
