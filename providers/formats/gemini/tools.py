"""Tools and the choice among them: a chat body's `tools`, `functions`, `tool_choice` as Gemini's.

Shapes: types of Google's google-genai 3.4. Schemas go into `parametersJsonSchema`, which both the Gemini API and Vertex
take as they are ($ref, additionalProperties, types in small letters); `parameters` knows only a part of OpenAPI's.

Tools that Google runs itself: Vertex's batches refuse one that is an empty object, and `{"timeRangeFilter": null}` is
the known way round that for the search (public issue thread of python-genai, as in Vertex's reference, 2026).
UNVERIFIED for the Gemini API, whose page on batches names no tool that it would not run.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.json_text import Raw, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import Choice, Function, flag, read_choice, read_functions
from proxy_plugin.providers.formats.remembered import recall

TOOLING = ("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "web_search_options")

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_RUN_BY_GOOGLE = {
    "google_search": "googleSearch",
    "url_context": "urlContext",
    "code_execution": "codeExecution",
    "google_search_retrieval": "googleSearchRetrieval",
    "google_maps": "googleMaps",
}
_GOOGLES = {**_RUN_BY_GOOGLE, **{name: name for name in _RUN_BY_GOOGLE.values()}}
_SEARCH = "googleSearch"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}


def tool_name(given: object, path: str) -> str:
    """Check a function's name ("FunctionDeclaration"). Raises LineRejected."""
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        message = "must be a name of 1 to 128 letters, digits, _, -, : or . that begins with a letter or _"
        raise rejected(path, message)
    return given


class _Tools(NamedTuple):
    """`tools` and `toolConfig` as JSON; nothing where a line has none."""

    tools: bytes = b""
    config: bytes = b""


def add_tools(chat: Block, body: Block, losses: Losses, *, vertex: bool) -> bool:
    """Add `tools` and `toolConfig` to the body; return whether there are tools. Raises LineRejected."""
    given = {key: chat.get(key) for key in TOOLING}

    def make(losses: Losses) -> _Tools:
        made: Block = {}
        if own := _run_by_google(given, losses, vertex=vertex):
            made["tools"] = own
        _add_functions(given, made, losses)
        return _Tools(*(write(made[key]) if key in made else b"" for key in ("tools", "toolConfig")))

    found = recall("tools of Gemini", [*given.values()], vertex, losses, make)
    if found.tools:
        body["tools"] = Raw(found.tools)
    if found.config:
        body["toolConfig"] = Raw(found.config)
    return bool(found.tools)


def _is_googles(tool: object) -> bool:
    return isinstance(tool, dict) and len(tool) == 1 and not _GOOGLES.keys().isdisjoint(tool)


def _run_by_google(chat: Block, losses: Losses, *, vertex: bool) -> list[Block]:
    """Return the tools that Google runs itself, `web_search_options` among them. Raises LineRejected."""
    given, found = chat.get("tools"), []
    for number, tool in enumerate(given if isinstance(given, list) else ()):
        if _is_googles(tool):
            ((name, options),) = tool.items()
            found.append((f"tools[{number}].{name}", _GOOGLES[name], options))
    if (wanted := chat.get("web_search_options")) is not None:
        found.append(("web_search_options", _SEARCH, _search(wanted, losses)))
    kept: dict[str, Block] = {}
    for path, name, options in found:
        if not isinstance(options, dict):
            raise rejected(path, "must be an object", "invalid_type")
        if options or not vertex:
            kept[name] = options
        elif name == _SEARCH:
            kept[name] = {"timeRangeFilter": None}
        else:
            losses.add(path, "batches of Vertex take no tool that is an empty object", "Remove it")
    return [{name: options} for name, options in kept.items()]


def _search(options: object, losses: Losses) -> object:
    """Return the search that OpenAI's options ask for."""
    path = "web_search_options"
    if isinstance(options, dict):
        losses.add_unknown(options, frozenset({"search_context_size", "user_location"}), path)
        if options.get("search_context_size") is not None:
            losses.hint(f"{path}.search_context_size", "Google chooses the size itself", "Remove it")
        if options.get("user_location") is not None:
            losses.add(f"{path}.user_location", "Google's search takes no place in words", "Say it in a message")
    return {} if isinstance(options, dict) else options


def _add_functions(chat: Block, body: Block, losses: Losses) -> None:
    functions = read_functions(chat, losses, name=tool_name, others=_is_googles)
    choice = read_choice(chat, {function.name for function in functions}, name=tool_name)
    parallel = flag(chat.get("parallel_tool_calls"), "parallel_tool_calls", absent=True)
    if not functions:
        return
    if not parallel and (choice is None or choice.word != "none"):
        losses.add("parallel_tool_calls", "Gemini cannot be held to one call at a time", "Send true")
    declared = {"functionDeclarations": [_declaration(function) for function in functions]}
    body["tools"] = [declared, *body.get("tools", ())]
    config = _config(choice, strict=any(function.strict for function in functions))
    if config is not None:
        body["toolConfig"] = {"functionCallingConfig": config}


def _declaration(function: Function) -> Block:
    block: Block = {"name": function.name}
    if function.description:
        block["description"] = function.description
    if function.parameters:
        schema = function.parameters
        block["parametersJsonSchema"] = schema if "type" in schema else {"type": "object", **schema}
    return block


def _config(choice: Choice | None, *, strict: bool) -> Block | None:
    """Return the calling mode; VALIDATED leaves the model its choice and holds its calls to the schemas."""
    if choice is None or choice.word == "auto":
        return {"mode": "VALIDATED"} if strict else None if choice is None else {"mode": "AUTO"}
    config: Block = {"mode": _MODES[choice.word]}
    return {**config, "allowedFunctionNames": [choice.name]} if choice.name else config
