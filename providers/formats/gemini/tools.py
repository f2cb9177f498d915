"""Tools and the choice among them: a chat body's `tools`, `functions`, `tool_choice` as Gemini's.

Shapes: types of Google's google-genai 3.4. Schemas go into `parametersJsonSchema`, which both the Gemini API and Vertex
take as they are ($ref, additionalProperties, types in small letters); `parameters` knows only a part of OpenAPI's.
"""

from __future__ import annotations

import re

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import Choice, Function, flag, read_choice, read_functions

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}


def tool_name(given: object, path: str) -> str:
    """Check a function's name ("FunctionDeclaration"). Raises LineRejected."""
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        message = "must be a name of 1 to 128 letters, digits, _, -, : or . that begins with a letter or _"
        raise rejected(path, message)
    return given


def add_tools(chat: Block, body: Block, losses: Losses) -> bool:
    """Add `tools` and `toolConfig` to the body; return whether there are tools. Raises LineRejected."""
    functions = read_functions(chat, losses, name=tool_name)
    choice = read_choice(chat, {function.name for function in functions}, name=tool_name)
    parallel = flag(chat.get("parallel_tool_calls"), "parallel_tool_calls", absent=True)
    if not functions:
        return False
    if not parallel and (choice is None or choice.word != "none"):
        losses.add("parallel_tool_calls", "Gemini cannot be held to one call at a time", "Send true")
    body["tools"] = [{"functionDeclarations": [_declaration(function) for function in functions]}]
    config = _config(choice, strict=any(function.strict for function in functions))
    if config is not None:
        body["toolConfig"] = {"functionCallingConfig": config}
    return True


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
