"""The conversation of a chat body as Anthropic's `system` and `messages`.

Shapes: Messages API, types of the official SDK 2.12; what the API refuses in a conversation (blank text, tool calls
without results, repeated ids, blanks at the end of a prefill): error texts in public issue threads, 2024 to 2026.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from providers.formats.json_text import Raw, TooDeep, object_text
from providers.formats.losses import Losses, rejected

Block = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_BARE_PDF = "JVBERi"  # base64 of %PDF-
_CACHE_MARKS: tuple[Block, ...] = ({"type": "ephemeral"}, *({"type": "ephemeral", "ttl": ttl} for ttl in ("5m", "1h")))
_SPOKEN = frozenset({"role", "content", "cache_control"})
_ASSISTANT = _SPOKEN | {"refusal", "tool_calls", "function_call", "audio"}
_TOOL = _SPOKEN | {"tool_call_id", "name"}
_TEXT = frozenset({"type", "text", "cache_control"})
_CALL = frozenset({"id", "type", "function", "index", "cache_control"})  # index: left by clients that join a stream


@dataclass(slots=True)
class Turns:
    """A translated conversation. `called` holds the functions that its tool calls name."""

    system: str | list[Block] | None
    messages: list[Block]
    called: list[str]
    ends_with_results: bool = False

    @property
    def ends_with_assistant(self) -> bool:
        """Whether the answer is to continue the last message (prefill)."""
        return bool(self.messages[-1]["role"] == "assistant")


def read_turns(given: object, losses: Losses) -> Turns:
    """Translate `messages`. Raises LineRejected."""
    if not isinstance(given, list):
        raise rejected("messages", "must be a list with at least one message", "invalid_type")
    talk = _Talk(losses)
    for number, message in enumerate(given):
        if isinstance(message, dict) and len(message) == 2 and talk.hear(message.get("role"), message.get("content")):
            continue
        path = f"messages[{number}]"
        if not isinstance(message, dict):
            raise rejected(path, "must be an object", "invalid_type")
        role = message.get("role")
        reader = _READERS.get(role) if isinstance(role, str) else None
        if reader is None:
            raise rejected(f"{path}.role", "must be system, developer, user, assistant, tool or function")
        reader(talk, message, path)
    return talk.turns()


def cache_mark(given: object, path: str) -> Block:
    """Check a `cache_control` extension and return it. Raises LineRejected."""
    if isinstance(given, dict) and given in _CACHE_MARKS:
        return given
    raise rejected(f"{path}cache_control", 'must be {"type": "ephemeral"}, with a ttl of 5m or 1h if any')


def tool_name(given: object, path: str) -> str:
    """Check a function's name. Raises LineRejected."""
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise rejected(path, "must be a name of 1 to 128 letters, digits, _ or -")
    return given


class _Talk:
    """The conversation as far as it has been read. `open`: calls that wait for their results, with id and name."""

    __slots__ = ("called", "ids", "losses", "messages", "open", "open_path", "results", "system")

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.system: list[Block] = []
        self.messages: list[Block] = []
        self.results: list[Block] | None = None  # content of the last message if that holds tool results
        self.open: dict[tuple[str, str], tuple[str, str]] = {}
        self.open_path = ""
        self.ids: set[str] = set()
        self.called: dict[str, None] = {}

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other. Saves 2 of 8 us a line [measured]."""
        if not isinstance(content, str) or self.open or not content or content.isspace():
            return False
        if role in ("user", "assistant"):
            self.say(role, content)
        elif role in ("system", "developer"):
            self.system.append(_text(content))
        else:
            return False
        return True

    def say(self, role: str, content: str | list[Block]) -> None:
        """Add a message; what the user says right after tool results joins their message, behind them."""
        if self.results is not None and role == "user":
            self.results += [_text(content)] if isinstance(content, str) else content
            return
        self.results = None
        self.messages.append({"role": role, "content": content})

    def answer(self, block: Block) -> None:
        """Add a tool result: all results of one turn stand in one user message."""
        if self.results is None:
            self.results = []
            self.messages.append({"role": "user", "content": self.results})
        self.results.append(block)

    def require_answers(self) -> None:
        """Refuse a turn in which some tool call has no result: the API does, and so does OpenAI's."""
        if self.open:
            raise rejected(self.open_path, "each tool call needs a tool message right after it")

    def call(self, key: tuple[str, str], name: str, path: str) -> str:
        """Open a tool call and return its id: safe characters, unique in the conversation, the same on every run."""
        if key in self.open:
            raise rejected(path, "two tool calls of one message have the same id")
        wanted = key[1] if key[0] == "id" and _ID.fullmatch(key[1]) else _hashed(*key)
        while wanted in self.ids:  # clients that number their calls from 0 in every turn
            wanted = _hashed(wanted, str(len(self.ids)))
        self.ids.add(wanted)
        self.called[name] = None
        self.open[key] = wanted, name
        self.open_path = path.rpartition(".")[0]
        return wanted

    def turns(self) -> Turns:
        self.require_answers()
        if not self.messages:
            raise rejected("messages", "at least one user message is needed beside system messages")
        if self.messages[-1]["role"] == "assistant":
            _check_prefill(self.messages[-1]["content"])
        return Turns(self._hoisted(), self.messages, list(self.called), self.results is not None)

    def _hoisted(self) -> str | list[Block] | None:
        """One plain text as a text; several stay apart, as blocks: no separator is invented."""
        if len(self.system) == 1 and "cache_control" not in self.system[0]:
            return str(self.system[0]["text"])
        return self.system or None


def _check_prefill(content: str | list[Block]) -> None:
    said = content if isinstance(content, str) else content[-1].get("text", "")
    if said[-1:].isspace():
        raise rejected("messages", "a last assistant message must not end with white space; cut it off")


def _system(talk: _Talk, message: Block, path: str) -> None:
    """Hoist a system or developer message, wherever it stands."""
    talk.losses.add_unknown(message, _SPOKEN, path)
    talk.system += _blocks(talk, message, path, _SYSTEM_PARTS)


def _user(talk: _Talk, message: Block, path: str) -> None:
    talk.losses.add_unknown(message, _SPOKEN, path)
    talk.require_answers()
    blocks = _blocks(talk, message, path, _USER_PARTS)
    if not blocks:
        raise rejected(f"{path}.content", "Anthropic takes no blank message; remove it or give it content")
    said = message["content"]
    talk.say("user", said if isinstance(said, str) and "cache_control" not in blocks[0] else blocks)


def _assistant(talk: _Talk, message: Block, path: str) -> None:
    """Add what the assistant said and called. A message with nothing in it is left out: it says nothing."""
    talk.losses.add_unknown(message, _ASSISTANT, path)
    talk.require_answers()
    if message.get("audio") is not None:
        raise rejected(f"{path}.audio", "Anthropic takes no audio; send the text instead", "unsupported_parameter")
    blocks = _blocks(talk, message, path, _ASSISTANT_PARTS, mark=False)
    refusal = message.get("refusal")
    if refusal is not None and not isinstance(refusal, str):
        raise rejected(f"{path}.refusal", "must be a text", "invalid_type")
    if refusal and not refusal.isspace():
        blocks.append(_text(refusal))
    blocks += _calls(talk, message, path)
    _mark_last(blocks, message, path)
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        talk.say("assistant", blocks[0]["text"])
    elif blocks:
        talk.say("assistant", blocks)


def _calls(talk: _Talk, message: Block, path: str) -> list[Block]:
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise rejected(f"{path}.tool_calls", "must be a list", "invalid_type")
    blocks = [_tool_use(talk, call, f"{path}.tool_calls[{number}]") for number, call in enumerate(calls or ())]
    if (legacy := message.get("function_call")) is not None:
        blocks.append(_function_use(talk, legacy, f"{path}.function_call", None))
    return blocks


def _tool_use(talk: _Talk, call: object, path: str) -> Block:
    if not isinstance(call, dict):
        raise rejected(path, "must be an object", "invalid_type")
    if call.get("type", "function") != "function":
        raise rejected(f"{path}.type", "only calls of functions have an equivalent", "unsupported_value")
    talk.losses.add_unknown(call, _CALL, path)
    given = call.get("id")
    if not isinstance(given, str) or not given:
        raise rejected(f"{path}.id", "must be a text", "invalid_type")
    block = _function_use(talk, call.get("function"), f"{path}.function", given)
    _mark_last([block], call, path)
    return block


def _function_use(talk: _Talk, function: object, path: str, given_id: str | None) -> Block:
    """Return a tool_use block. The arguments' text is kept as it is: numbers of any length, order, spelling."""
    if not isinstance(function, dict):
        raise rejected(path, "must be an object", "invalid_type")
    talk.losses.add_unknown(function, frozenset({"name", "arguments"}), path)
    name = tool_name(function.get("name"), f"{path}.name")
    key = ("function", name) if given_id is None else ("id", given_id)
    arguments = _arguments(function.get("arguments"), f"{path}.arguments")
    return {"type": "tool_use", "id": talk.call(key, name, path), "name": name, "input": arguments}


def _arguments(given: object, path: str) -> Raw:
    if not isinstance(given, str):
        raise rejected(path, "must be a text that holds a JSON object", "invalid_type")
    if not given or given.isspace():  # several services write calls without arguments so
        return Raw(b"{}")
    try:
        return object_text(given)
    except TypeError:
        raise rejected(path, "must be a JSON object") from None
    except TooDeep as error:
        raise rejected(path, str(error)) from None
    except ValueError:
        raise rejected(path, "is not valid JSON; repair it or remove the call and its result") from None


def _tool(talk: _Talk, message: Block, path: str) -> None:
    """Add the result of a tool call, or of a legacy function call, which is known by its name."""
    legacy = message["role"] == "function"
    field_name = "name" if legacy else "tool_call_id"
    given = message.get(field_name)
    if not isinstance(given, str):
        raise rejected(f"{path}.{field_name}", "must be a text", "invalid_type")
    found = talk.open.pop(("function" if legacy else "id", given), None)
    if found is None:
        raise rejected(f"{path}.{field_name}", "answers no tool call of the assistant message before it")
    native_id, name = found
    talk.losses.add_unknown(message, _TOOL if message.get("name") == name else _TOOL - {"name"}, path)
    block: Block = {"type": "tool_result", "tool_use_id": native_id}
    content = message.get("content")
    if not isinstance(content, str):
        content = _blocks(talk, message, path, _USER_PARTS, mark=False)
    if content and not (isinstance(content, str) and content.isspace()):
        block["content"] = content
    _mark_last([block], message, path)
    talk.answer(block)


_READERS: dict[str, Callable[[_Talk, Block, str], None]] = {
    "system": _system,
    "developer": _system,
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
    "function": _tool,
}


def _blocks(talk: _Talk, message: Block, path: str, parts: dict[str, _PartReader], *, mark: bool = True) -> list[Block]:
    """Translate `content`: None, a text or a list of parts. Blank texts are left out: the API refuses them."""
    content = message.get("content")
    blocks: list[Block] = []
    if isinstance(content, str):
        if content and not content.isspace():
            blocks.append(_text(content))
    elif isinstance(content, list):
        for number, part in enumerate(content):
            if (block := _part(talk, part, f"{path}.content[{number}]", parts)) is not None:
                blocks.append(block)
    elif content is not None:
        raise rejected(f"{path}.content", "must be a text or a list of parts", "invalid_type")
    if mark:
        _mark_last(blocks, message, path)
    return blocks


def _mark_last(blocks: list[Block], given: Block, path: str) -> None:
    """Put the `cache_control` of a message or part on the last of its blocks, unless that has its own."""
    if given.get("cache_control") is not None:
        mark = cache_mark(given["cache_control"], f"{path}.")
        if blocks:
            blocks[-1].setdefault("cache_control", mark)


def _part(talk: _Talk, part: object, path: str, parts: dict[str, _PartReader]) -> Block | None:
    if not isinstance(part, dict):
        raise rejected(path, "must be an object", "invalid_type")
    kind = part.get("type")
    reader = parts.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise rejected(f"{path}.type", f"must be one of {', '.join(parts)}; others have no equivalent here")
    block = reader(talk, part, path)
    if block is not None:
        _mark_last([block], part, path)
    return block


def _text_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, _TEXT, path)
    return _said(part.get("text"), f"{path}.text")


def _refusal_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "refusal", "cache_control"}), path)
    return _said(part.get("refusal"), f"{path}.refusal")


def _said(text: object, path: str) -> Block | None:
    if not isinstance(text, str):
        raise rejected(path, "must be a text", "invalid_type")
    return _text(text) if text and not text.isspace() else None


def _image_part(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, frozenset({"type", "image_url", "cache_control"}), path)
    image = part.get("image_url")
    if isinstance(image, dict):
        talk.losses.add_unknown(image, frozenset({"url", "detail"}), f"{path}.image_url")
        if image.get("detail") not in (None, "auto"):
            talk.losses.add(f"{path}.image_url.detail", "Anthropic chooses the detail itself", "Send auto")
        image = image.get("url")
    if not isinstance(image, str):
        raise rejected(f"{path}.image_url", "must hold a url", "invalid_type")
    if image[:8].lower().startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": image}}
    media, data = _payload(image, f"{path}.image_url.url")
    if media == "image/jpg":
        media = "image/jpeg"
    if media not in _IMAGES:
        raise rejected(f"{path}.image_url.url", "must be a JPEG, PNG, GIF or WebP image", "unsupported_value")
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _file_part(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, frozenset({"type", "file", "cache_control"}), path)
    given = part.get("file")
    if not isinstance(given, dict):
        raise rejected(f"{path}.file", "must be an object", "invalid_type")
    if given.get("file_id") is not None:
        message = "names a file that Anthropic cannot read; send the PDF itself as file_data"
        raise rejected(f"{path}.file.file_id", message, "unsupported_parameter")
    talk.losses.add_unknown(given, frozenset({"file_data", "filename", "file_id"}), f"{path}.file")
    data, name = given.get("file_data"), given.get("filename")
    if not isinstance(data, str) or not isinstance(name, str | None):
        raise rejected(f"{path}.file", "must hold file_data and a filename as texts", "invalid_type")
    media = _PDF
    if not data.startswith(_BARE_PDF):
        media, data = _payload(data, f"{path}.file.file_data")
    if media != _PDF:
        raise rejected(f"{path}.file.file_data", "must be a PDF document", "unsupported_value")
    block: Block = {"type": "document", "source": {"type": "base64", "media_type": media, "data": data}}
    return {**block, "title": name} if name else block


def _audio_part(_talk: _Talk, _given: Block, path: str) -> Block:
    raise rejected(path, "Anthropic takes no audio; send a transcript as text", "unsupported_parameter")


def _payload(uri: str, path: str) -> tuple[str, str]:
    """Return media type and base64 text of a data URI."""
    head = _DATA_URI.match(uri)
    if head is None or head.end() == len(uri):
        raise rejected(path, "must be an http(s) URL or a data URI with base64 data")
    return head[1].lower(), uri[head.end() :]


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _hashed(*given: str) -> str:
    return "call_" + hashlib.sha256("\x1f".join(given).encode("utf-8", "surrogatepass")).hexdigest()[:32]


_PartReader = Callable[[_Talk, Block, str], Block | None]
_SYSTEM_PARTS: dict[str, _PartReader] = {"text": _text_part}
_ASSISTANT_PARTS: dict[str, _PartReader] = {"text": _text_part, "refusal": _refusal_part}
_USER_PARTS: dict[str, _PartReader] = {
    "text": _text_part,
    "image_url": _image_part,
    "file": _file_part,
    "input_audio": _audio_part,
}
