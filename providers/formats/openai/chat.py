"""What every translator reads from an OpenAI chat body, whatever it makes of it: parameters and tools.

Readers return None (or an empty list) for what is absent or null, and raise LineRejected with the caller's own path for
what OpenAI would not take either. Shapes: OpenAI's chat completions, SDK 3.52. Nothing here knows a provider: limits,
names and remedies are handed in. What a format cannot honour goes through `Losses`. The conversation: `turns`.

    read_chat, model_name, check_rest                           the body, and parameters without a place
    read_limit, read_number, read_count, read_stops, read_level, read_format, pseudonym
    read_functions, read_choice, is_single, flag, check_depth   tools
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from proxy_plugin.providers.formats.bodies import Block, leftovers, read_object
from proxy_plugin.providers.formats.json_text import MAX_DEPTH, is_too_deep, write
from proxy_plugin.providers.formats.losses import TOLD, Losses, rejected

MAX_STOPS = 4  # OpenAI's own limit
# Values that ask for what happens anyway where a request has one answer, of text, and nothing is stored.
# Sampling that servers of open models (vLLM and its kin) know beyond OpenAI's, where it is switched off.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_p": (0,),
    "top_a": (0,),
}
SAME: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    **NEUTRAL,
}
# Only schemas hold numbers that are handed on; long ones in texts do no harm.
_WITH_SCHEMAS = ("tools", "functions", "response_format")
_SCHEMA = frozenset({"name", "description", "schema", "strict"})
_KINDS = ("text", "json_object", "json_schema")
# What stands in the system text for `json_object` on a lane without a JSON mode: told, not enforced.
JSON_ONLY = "Answer with one valid JSON object and nothing else: no words around it and no code fence."
SCHEMA_ONLY = "Answer with valid JSON and nothing else, without a code fence. It has to satisfy this JSON schema:\n"
_NONE: frozenset[str] = frozenset()


def read_chat(body: bytes) -> Block:
    """Read a body; long numbers in schemas keep every digit (`json_text.Literal`). Raises LineRejected."""
    return read_object(body, _WITH_SCHEMAS)


def model_name(chat: Block, model: str | None) -> str:
    """Return the route's model, else the body's own."""
    name = chat.get("model") if model is None else model
    if not isinstance(name, str) or not name:
        raise rejected("model", "must be a text", "invalid_type")
    return name


def check_rest(
    chat: Block,
    losses: Losses,
    *,
    known: AbstractSet[str],
    same: Mapping[str, Collection[object]],
    never: Mapping[str, str],
    provider: str,
) -> None:
    """Refuse or note every parameter that has no place in the translation.

    `known`: translated elsewhere. `same`, `never`: see `leftovers`.
    """
    if chat.keys() <= known:
        return
    left = leftovers(chat, losses, same=same, never=never)
    if left.get("web_search_options") == {}:  # elsewhere an empty value says nothing, here it asks for a search
        losses.add("web_search_options", f"{provider} has no equivalent", "Remove it")
    losses.add_unknown(left, known)


def read_limit(chat: Block) -> tuple[str, int] | None:
    """Return the answer's limit in tokens (at least 1) under the name that the caller used."""
    exact, older = chat.get("max_completion_tokens"), chat.get("max_tokens")
    limit = older if exact is None else exact
    if limit is None:
        return None
    name = "max_tokens" if exact is None else "max_completion_tokens"
    if type(limit) is not int or limit < 1:
        raise rejected(name, "must be a whole number above 0")
    if older is not None and older != limit:
        raise rejected("max_tokens", "differs from max_completion_tokens; send one of them")
    return name, limit


def read_number(chat: Block, key: str, least: int, most: int) -> float | None:
    """Return a number within its bounds, as it was spelled."""
    given = chat.get(key)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given <= most:
        raise rejected(key, f"must be a number from {least} to {most}")
    return given


def read_count(chat: Block, key: str, least: int, most: int | None = None) -> int | None:
    """Return a whole number within its bounds."""
    given = chat.get(key)
    if given is None:
        return None
    if type(given) is not int or given < least or (most is not None and given > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise rejected(key, f"must be a whole number, {bounds}")
    return given


def read_top_k(chat: Block) -> int | None:
    """Return `top_k`; None also for 0 and vLLM's -1, which ask for all tokens, as no value does."""
    return None if chat.get("top_k") in (0, -1) else read_count(chat, "top_k", 1)


def read_stops(chat: Block, most: int = MAX_STOPS) -> list[str]:
    """Return the stop sequences, empty ones among them."""
    given = chat.get("stop")
    stops = [given] if isinstance(given, str) else given
    if stops is None:
        return []
    if not isinstance(stops, list) or len(stops) > most or not all(isinstance(text, str) for text in stops):
        raise rejected("stop", f"must be a text or a list of at most {most} texts")
    return stops


def read_level(chat: Block, levels: Collection[str]) -> str | None:
    """Return `reasoning_effort`: `none` or one of the levels."""
    level = chat.get("reasoning_effort")
    if level is None:
        return None
    if not isinstance(level, str) or (level != "none" and level not in levels):
        raise rejected("reasoning_effort", f"must be one of none, {', '.join(levels)}")
    return level


class Format(NamedTuple):
    """What `response_format` asks for: text, json_object, or json_schema with a schema.

    `strict`: "If set to true, the model will always follow the exact schema" (OpenAI's SDK 3.52); else it may not.
    """

    kind: str
    schema: Block
    name: str
    description: str
    strict: bool = False

    @property
    def words(self) -> str:
        """What asks for the form where nothing enforces it."""
        if self.kind == "json_object":
            return JSON_ONLY
        described = f"{self.description}\n\n" if self.description else ""
        return f"{described}{SCHEMA_ONLY}{write(self.schema).decode()}"


def tell_format(wanted: Format, losses: Losses, reason: str, remedy: str, *, name: str = "response_format") -> str:
    """Note that a form is asked for in words, and return them. A strict schema is a promise, so that it is a loss."""
    if wanted.strict:
        losses.add(name, reason, remedy, instead=TOLD)
    else:
        losses.tell(name, reason, remedy)
    return wanted.words


def read_format(chat: Block, losses: Losses) -> Format | None:
    """Return the form of the answer. The schema is at most `MAX_DEPTH` deep."""
    given = chat.get("response_format")
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind not in _KINDS:
        raise rejected("response_format", "must be an object of type text, json_object or json_schema")
    losses.add_unknown(given, frozenset({"type", "json_schema"}), "response_format")
    if kind != "json_schema":
        return Format(kind, {}, "", "")
    path, wrapped = "response_format.json_schema", given.get("json_schema")
    if not isinstance(wrapped, dict):
        raise rejected(path, "must be an object", "invalid_type")
    losses.add_unknown(wrapped, _SCHEMA, path)
    schema = wrapped.get("schema")
    if not isinstance(schema, dict):
        raise rejected(f"{path}.schema", "must be an object: the JSON schema of the answer", "invalid_type")
    check_depth(schema, f"{path}.schema")
    name, description = wrapped.get("name"), wrapped.get("description")
    return Format(
        kind,
        schema,
        name if isinstance(name, str) else "",
        description if isinstance(description, str) else "",
        flag(wrapped.get("strict"), f"{path}.strict"),
    )


def pseudonym(chat: Block, losses: Losses) -> str | None:
    """Return a stable name of the end user that tells nobody who it is: 64 hex digits. There is room for one."""
    names = []
    for key in ("safety_identifier", "user"):
        given = chat.get(key)
        if given is not None and not isinstance(given, str):
            raise rejected(key, "must be a text", "invalid_type")
        if given:
            names.append(given)
    if not names:
        return None
    if names[0] != names[-1]:
        losses.add("user", "safety_identifier takes the place of the one name of an end user", "Send one of them")
    return hashlib.sha256(names[0].encode("utf-8", "surrogatepass")).hexdigest()


def flag(given: object, path: str, *, absent: bool = False) -> bool:
    """Read true or false, `absent` for null."""
    if given is None:
        return absent
    if not isinstance(given, bool):
        raise rejected(path, "must be true or false", "invalid_type")
    return given


def check_depth(schema: Block, path: str) -> None:
    """Refuse a schema that is nested too deeply to be written."""
    if is_too_deep(schema):
        raise rejected(path, f"is nested deeper than {MAX_DEPTH} levels")


class Function(NamedTuple):
    """A tool. `parameters` is a JSON schema of an object, None where none is given; `tool` is what wraps `given`."""

    path: str
    name: str
    description: str
    parameters: Block | None
    strict: bool
    given: Block
    tool: Block

    @property
    def key(self) -> str:
        """The caller's field that it is in: `tools`, or the older `functions`."""
        return self.path.partition("[")[0]


def read_functions(
    chat: Block,
    losses: Losses,
    *,
    name: Callable[[object, str], str],
    more: frozenset[str] = _NONE,
    others: Callable[[object], bool] = lambda tool: False,  # noqa: ARG005
) -> list[Function]:
    """Return the functions of `tools`, or of its older form `functions`.

    `name` checks a function's name: (given, path) -> name. `more`: further members that the format knows, of a tool
    and of a function alike. `others`: whether a tool is of the format's own kind, which it reads itself.
    """
    tools, functions = _list(chat, "tools"), _list(chat, "functions")
    if tools and functions:
        raise rejected("functions", "cannot stand beside tools; move them there")
    found = []
    for number, tool in enumerate(tools):
        path = f"tools[{number}]"
        if others(tool):
            continue
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise rejected(path, "must be a function, or a tool that this provider runs itself", "unsupported_value")
        losses.add_unknown(tool, {"type", "function"} | more, path)
        found.append(_function(tool.get("function"), f"{path}.function", losses, name, more, tool))
    for number, function in enumerate(functions):
        found.append(_function(function, f"functions[{number}]", losses, name, more, {}))
    return found


def _list(chat: Block, key: str) -> list[Any]:
    given = chat.get(key)
    if given is not None and not isinstance(given, list):
        raise rejected(key, "must be a list", "invalid_type")
    return given or []


def _function(
    given: object, path: str, losses: Losses, name: Callable[[object, str], str], more: frozenset[str], tool: Block
) -> Function:
    if not isinstance(given, dict):
        raise rejected(path, "must be an object", "invalid_type")
    losses.add_unknown(given, {"name", "description", "parameters", "strict"} | more, path)
    called = name(given.get("name"), f"{path}.name")
    description = given.get("description")
    if description is not None and not isinstance(description, str):
        raise rejected(f"{path}.description", "must be a text", "invalid_type")
    schema = given.get("parameters")
    if schema is not None:
        if not isinstance(schema, dict) or schema.get("type", "object") != "object":
            raise rejected(f"{path}.parameters", "must be a JSON schema of type object")
        check_depth(schema, f"{path}.parameters")
    strict = flag(given.get("strict"), f"{path}.strict")
    return Function(path, called, description or "", schema, strict, given, tool)


class Choice(NamedTuple):
    """Which tool to use: `word` is auto, none, required or function (then `name` is set). `key`: the caller's field."""

    key: str
    word: str
    name: str = ""

    @property
    def forced(self) -> bool:
        """Whether the model must call a tool."""
        return self.word in ("required", "function")


def read_choice(chat: Block, names: Collection[str], *, name: Callable[[object, str], str]) -> Choice | None:
    """Return `tool_choice`, or the older `function_call`; `names` are the tools of the line."""
    key = "tool_choice" if chat.get("tool_choice") is not None else "function_call"
    choice = _choice(chat.get(key), key, name)
    if choice is None:
        return None
    if not names:
        if choice.forced:
            raise rejected(key, "asks for a tool, but the line has none")
        return None
    if choice.name and choice.name not in names:
        raise rejected(key, "names a function that is not among the tools")
    return choice


def _choice(given: object, key: str, name: Callable[[object, str], str]) -> Choice | None:
    if given is None:
        return None
    if isinstance(given, str) and given in ("auto", "none", "required"):
        return Choice(key, given)
    named = given
    if isinstance(given, dict) and key == "tool_choice":
        named = given.get("function") if given.get("type") == "function" else None
    if isinstance(named, dict):
        return Choice(key, "function", name(named.get("name"), f"{key}.name"))
    raise rejected(key, "must be auto, none, required or name one function", "unsupported_value")


def is_single(chat: Block) -> bool:
    """Whether an answer may hold one tool call at most: asked for, or the older form, which has room for one."""
    return not flag(chat.get("parallel_tool_calls"), "parallel_tool_calls", absent=True) or bool(chat.get("functions"))
