"""The conversation of a Responses body as the messages of a chat body.

Shapes: types of OpenAI's SDK 3.52. Items that a response gave may come back in the next request: a turn's text and its
function calls are separate items there and one assistant message here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy_plugin.providers.formats.losses import Losses, rejected

Block = dict[str, Any]

_ROLES = ("user", "assistant", "system", "developer")
# An item's own name, state and phase label what some model said; another model reads the words alone.
_ITEM = frozenset({"type", "id", "status", "cache_control"})
_OWN = ("extra_content", "audio")  # what our own responses hold beside the API's fields, and a chat has a place for
_MESSAGE = _ITEM | {"role", "content", "phase"}
_SPOKEN = _MESSAGE.union(_OWN)
_CALL = _ITEM | {"call_id", "name", "arguments", "extra_content"}
_IMAGE = _ITEM | {"result", "output_format", "url", "background", "quality", "size", "action", "revised_prompt"}
_OUTPUT = _ITEM | {"call_id", "output", "name"}
# Chat parts have the same two fields.
_MARKS = ("prompt_cache_breakpoint", "cache_control")
_PART = frozenset({"type", *_MARKS})
_SAME: dict[str, tuple[object, ...]] = {"async": (False,), "caller": ({"type": "direct"},)}


def read_items(given: object, instructions: object, losses: Losses) -> list[Block]:
    """Return the messages that `instructions` and `input` make. Raises LineRejected."""
    talk = _Talk(losses)
    if instructions is not None and not isinstance(instructions, str):
        raise rejected("instructions", "must be a text", "invalid_type")
    if instructions:
        talk.messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise rejected("input", "must be a text or a list of items", "invalid_type")
    for number, item in enumerate(given):
        if not (isinstance(item, dict) and len(item) == 2 and talk.hear(item.get("role"), item.get("content"))):
            _read_item(talk, item, f"input[{number}]")
    if not any(message["role"] not in ("system", "developer") for message in talk.messages):
        raise rejected("input", "must hold something that the user said", "invalid_value")
    return talk.messages


class _Talk:
    """The conversation as far as it has been read."""

    __slots__ = ("losses", "messages")

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.messages: list[Block] = []

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other."""
        if role not in _ROLES or not isinstance(content, str):
            return False
        self.say({"role": role, "content": content})
        return True

    def say(self, message: Block) -> None:
        """Add a message; what the assistant says beside its calls joins them."""
        last = self.messages[-1] if self.messages else {}
        if message["role"] == "assistant" == last.get("role") and last["content"] is None:
            last.update(message)
        else:
            self.messages.append(message)

    def call(self, call: Block) -> None:
        """Add a tool call to the turn that it belongs to."""
        self.spoken().setdefault("tool_calls", []).append(call)

    def spoken(self) -> Block:
        """Return the assistant's message that an item belongs to."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": None})
        return self.messages[-1]


def places(given: object, instructions: object) -> dict[str, str]:
    """Return where in `instructions` and `input` the parts of the messages that `read_items` made of them stand.

    Keys are paths of a chat body, without what is inside of a part: `messages[2].tool_calls[0]` -> `input[3]`.
    """
    talk, found = _Talk(Losses(allowed=True, provider="")), {}
    if instructions:
        talk.messages.append({"role": "system", "content": instructions})
        found["messages[0]"] = found["messages[0].content"] = "instructions"
    if isinstance(given, str):
        place = f"messages[{len(talk.messages)}]"
        return {**found, place: "input", f"{place}.content": "input"}
    for number, item in enumerate(given if isinstance(given, list) else ()):
        before = len(talk.messages)
        if not (isinstance(item, dict) and len(item) == 2 and talk.hear(item.get("role"), item.get("content"))):
            _read_item(talk, item, f"input[{number}]")
        found |= _places_of(talk.messages, before, item, f"input[{number}]")
    return found


def _places_of(messages: list[Block], before: int, item: Block, path: str) -> dict[str, str]:
    """Return the places that one item has filled; `before`: how many messages there were."""
    if not messages:
        return {}
    place, kind = f"messages[{len(messages) - 1}]", item.get("type")
    found = {place: path} if len(messages) > before else {}
    if kind == "function_call":
        found[f"{place}.tool_calls[{len(messages[-1]['tool_calls']) - 1}]"] = path
    elif kind == "image_generation_call":
        found[f"{place}.images[{len(messages[-1]['images']) - 1}]"] = path
    elif kind == "function_call_output":
        found[f"{place}.content"] = f"{path}.output"
    elif kind != "reasoning":
        found[f"{place}.content"] = f"{path}.content"
    return found


def _read_item(talk: _Talk, item: object, path: str) -> None:
    if not isinstance(item, dict):
        raise rejected(path, "must be an object", "invalid_type")
    kind = item.get("type")
    if kind is None and "role" in item:
        kind = "message"
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise rejected(f"{path}.type", f"must be one of {', '.join(_READERS)}; others need OpenAI's own API")
    reader(talk, item, path)


def _message(talk: _Talk, item: Block, path: str) -> None:
    role = item.get("role")
    if role not in _ROLES:
        raise rejected(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
    _note_rest(talk, item, _SPOKEN if role == "assistant" else _MESSAGE, path)
    parts = _SAID if role == "assistant" else _INPUT
    message = {"role": role, "content": _content(talk, item.get("content"), f"{path}.content", parts)}
    talk.say(_marked(message, item, "cache_control", *(_OWN if role == "assistant" else ())))


def _generated_image(talk: _Talk, item: Block, path: str) -> None:
    """Give an image of an earlier response back to the message that it was in."""
    _note_rest(talk, item, _IMAGE, path)
    data, form, url = item.get("result"), item.get("output_format") or "png", item.get("url")
    if isinstance(data, str) and data and isinstance(form, str):
        url = f"data:image/{form};base64,{data}"
    if not isinstance(url, str):
        raise rejected(f"{path}.result", "must be the image as base64 data", "invalid_type")
    talk.spoken().setdefault("images", []).append({"type": "image_url", "image_url": {"url": url}})


def _function_call(talk: _Talk, item: Block, path: str) -> None:
    _note_rest(talk, item, _CALL, path)
    name, arguments = item.get("name"), item.get("arguments")
    if not isinstance(name, str) or not name:
        raise rejected(f"{path}.name", "must be a text", "invalid_type")
    if not isinstance(arguments, str):
        raise rejected(f"{path}.arguments", "must be a text that holds a JSON object", "invalid_type")
    function = {"name": name, "arguments": arguments}
    call = {"id": _call_id(item, path), "type": "function", "function": function}
    talk.call(_marked(call, item, "cache_control", "extra_content"))


def _function_output(talk: _Talk, item: Block, path: str) -> None:
    _note_rest(talk, item, _OUTPUT, path)
    content = _content(talk, item.get("output"), f"{path}.output", _INPUT)
    message = {"role": "tool", "tool_call_id": _call_id(item, path), "content": content}
    talk.messages.append(_marked(message, item, "cache_control"))


def _reasoning(talk: _Talk, item: Block, path: str) -> None:
    """Note reasoning that says something, which our own answers hold too."""
    for name in ("summary", "content", "encrypted_content"):
        if item.get(name):
            talk.losses.add(f"{path}.{name}", "a chat has no place for earlier reasoning", "Remove the item")


_READERS: dict[str, Callable[[_Talk, Block, str], None]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_output,
    "reasoning": _reasoning,
    "image_generation_call": _generated_image,
}


def _call_id(item: Block, path: str) -> str:
    given = item.get("call_id")
    if not isinstance(given, str) or not given:
        raise rejected(f"{path}.call_id", "must be a text", "invalid_type")
    return given


def _note_rest(talk: _Talk, given: Block, known: frozenset[str], path: str) -> None:
    """Note members that have no place in a chat and say something."""
    if not given.keys() <= known:
        left = {key: value for key, value in given.items() if value not in _SAME.get(key, ())}
        talk.losses.add_unknown(left, known, path)


def _content(talk: _Talk, given: object, path: str, readers: dict[str, _PartReader]) -> str | list[Block]:
    """Return a text or a list of chat parts; a single part of plain text becomes the text: every lane takes that."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise rejected(path, "must be a text or a list of parts", "invalid_type")
    parts = [_part(talk, part, f"{path}[{number}]", readers) for number, part in enumerate(given)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _part(talk: _Talk, part: object, path: str, readers: dict[str, _PartReader]) -> Block:
    if not isinstance(part, dict):
        raise rejected(path, "must be an object", "invalid_type")
    kind = part.get("type")
    reader = readers.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise rejected(f"{path}.type", f"must be one of {', '.join(readers)}, the items and parts that are read here")
    return _marked(reader(talk, part, path), part, *_MARKS)


def _marked(block: Block, given: Block, *marks: str) -> Block:
    for mark in marks:
        if given.get(mark) is not None:
            block[mark] = given[mark]
    return block


def _text(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, _PART | {"text"}, path)
    return {"type": "text", "text": _string(part.get("text"), f"{path}.text")}


def _refusal(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, _PART | {"refusal"}, path)
    return {"type": "refusal", "refusal": _string(part.get("refusal"), f"{path}.refusal")}


def _image(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, _PART | {"image_url", "file_id", "detail"}, path)
    if part.get("file_id") is not None:
        message = "names a file that a chat cannot read; send the image itself as image_url"
        raise rejected(f"{path}.file_id", message, "unsupported_parameter")
    image = {"url": _string(part.get("image_url"), f"{path}.image_url")}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, _PART | {"file_data", "file_id", "file_url", "filename", "detail"}, path)
    if part.get("detail") not in (None, "auto"):
        talk.losses.add(f"{path}.detail", "a chat leaves it to the model", "Send auto")
    names = [name for name in ("file_data", "file_id", "file_url", "filename") if part.get(name) is not None]
    file = {name: _string(part[name], f"{path}.{name}") for name in names}
    if not file:
        raise rejected(path, "must hold file_data", "invalid_value")
    return {"type": "file", "file": file}


def _audio(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, _PART | {"input_audio"}, path)
    return {"type": "input_audio", "input_audio": part.get("input_audio")}


def _string(given: object, path: str) -> str:
    if not isinstance(given, str):
        raise rejected(path, "must be a text", "invalid_type")
    return given


_PartReader = Callable[[_Talk, Block, str], Block]
_INPUT: dict[str, _PartReader] = {
    "input_text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
_SAID: dict[str, _PartReader] = {"output_text": _text, "refusal": _refusal}
