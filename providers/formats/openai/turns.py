"""The conversation of an OpenAI chat body, as every translator reads it: roles, tool calls and results, content parts.

Shapes: OpenAI's chat completions, SDK 3.52. Readers raise LineRejected with the caller's own path. Nothing here knows a
provider. A format builds upon `Talk` and hands its readers by part type to `parts_of`.

    Reader, Talk, read_messages, read_calls, call_id            messages, tool calls and what answers them
    parts_of, read_text, read_image, read_file, payload         content parts
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from proxy_plugin.providers.formats.json_text import Raw, TooDeep, object_text
from proxy_plugin.providers.formats.losses import Losses, rejected

Block = dict[str, Any]
T = TypeVar("T")
Talking = TypeVar("Talking", bound="Reader")

SPOKEN = frozenset({"role", "content"})
ASSISTANT = SPOKEN | {"refusal", "tool_calls", "function_call", "audio"}
TOOL = SPOKEN | {"tool_call_id", "name"}
_READERS = {
    "system": "read_system",
    "developer": "read_system",
    "user": "read_user",
    "assistant": "read_assistant",
    "tool": "read_tool",
    "function": "read_tool",
}
_CALL = frozenset({"id", "type", "function", "index"})  # index: left by clients that join a stream
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)
_NONE: frozenset[str] = frozenset()


class Reader:
    """Reads messages by role: `read_system`, `read_user`, `read_assistant` and `read_tool` are its own to define."""

    __slots__ = ("losses",)
    SPOKEN = SPOKEN
    BLANK = "a blank message says nothing; remove it or give it content"

    def __init__(self, losses: Losses) -> None:
        self.losses = losses

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a content, if that is simple; False leaves it to the readers."""
        del role, content
        return False


class Talk(Reader, ABC):
    """A conversation on its way, as far as it has been read. Formats build upon it.

    `system`: what is hoisted. `open`: calls that wait for their results, by the caller's key, with the id sent and the
    name. `called`: every function that some call names.

    A format says which members of a message have a place (`SPOKEN`, `ASSISTANT`, `TOOL`), which ids of calls are sent
    as they are (`ID`; others become a hash), and why it refuses a user's blank message and an assistant's audio. It
    reads content, and adds what somebody said.
    """

    __slots__ = ("called", "ids", "open", "open_path", "system")
    ID = re.compile(r"[a-zA-Z0-9_-]+")
    ASSISTANT, TOOL = ASSISTANT, TOOL
    AUDIO = "audio has no place here; send the text instead"

    def __init__(self, losses: Losses) -> None:
        super().__init__(losses)
        self.system: list[Block] = []
        self.open: dict[tuple[str, str], tuple[str, str]] = {}
        self.open_path = ""
        self.ids: set[str] = set()
        self.called: dict[str, None] = {}

    @abstractmethod
    def content(self, message: Block, path: str, role: str) -> Any:
        """Translate the content of what system, user, assistant or tool say: None, a text or a list of parts."""

    @abstractmethod
    def add_user(self, message: Block, content: Any, path: str) -> None:
        """Add what the user said, which is something."""

    @abstractmethod
    def add_assistant(self, message: Block, path: str) -> None:
        """Add what the assistant said and called. A message with nothing in it is left out: it says nothing."""

    @abstractmethod
    def add_result(self, native_id: str, name: str, message: Block, path: str) -> None:
        """Add the result of the tool call of this id and function name."""

    def read_system(self, message: Block, path: str) -> None:
        """Hoist a system or developer message, wherever it stands. Several stay apart: no separator is invented."""
        self.losses.add_unknown(message, self.SPOKEN, path)
        self.system += self.content(message, path, "system")

    def read_user(self, message: Block, path: str) -> None:
        """Read a user's message."""
        self.losses.add_unknown(message, self.SPOKEN, path)
        self.require_answers()
        content = self.content(message, path, "user")
        if not content:
            raise rejected(f"{path}.content", self.BLANK)
        self.add_user(message, content, path)

    def read_assistant(self, message: Block, path: str) -> None:
        """Read a message of the assistant's."""
        self.losses.add_unknown(message, self.ASSISTANT, path)
        self.require_answers()
        if message.get("audio") is not None:
            message = self._heard(message, path)
        self.add_assistant(message, path)

    def _heard(self, message: Block, path: str) -> Block:
        """Return a spoken message as what was said: its sound is lost, its words may not be."""
        audio = message["audio"]
        words = audio.get("transcript") if isinstance(audio, dict) else None
        if not message.get("content") and not (isinstance(words, str) and words):
            raise rejected(f"{path}.audio", self.AUDIO, "unsupported_parameter")
        self.losses.hint(f"{path}.audio", self.AUDIO, "Remove it")
        return {**message, "content": message.get("content") or words}

    def read_tool(self, message: Block, path: str) -> None:
        """Read the result of a tool call, or of a legacy function call, which is known by its name."""
        native_id, name = self.answered(message, path)
        known = self.TOOL if message.get("name", name) == name else self.TOOL - {"name"}
        self.losses.add_unknown(message, known, path)
        self.add_result(native_id, name, message, path)

    def require_answers(self) -> None:
        """Refuse a turn in which some tool call has no result, as OpenAI's API does."""
        if self.open:
            raise rejected(self.open_path, "each tool call needs a tool message right after it")

    def call(self, key: tuple[str, str], name: str, path: str) -> str:
        """Open a tool call and return its id: safe characters, unique in the conversation, the same on every run."""
        if key in self.open:
            raise rejected(path, "two tool calls of one message have the same id")
        wanted = key[1] if key[0] == "id" and self.ID.fullmatch(key[1]) else call_id(*key)
        while wanted in self.ids:  # clients that number their calls from 0 in every turn
            wanted = call_id(wanted, str(len(self.ids)))
        self.ids.add(wanted)
        self.called[name] = None
        self.open[key] = wanted, name
        self.open_path = path.rpartition(".")[0]
        return wanted

    def answered(self, message: Block, path: str) -> tuple[str, str]:
        """Close the call that a tool message (or a function message, known by its name) answers: (id sent, name)."""
        legacy = message["role"] == "function"
        field = "name" if legacy else "tool_call_id"
        given = message.get(field)
        if not isinstance(given, str):
            raise rejected(f"{path}.{field}", "must be a text", "invalid_type")
        found = self.open.pop(("function" if legacy else "id", given), None)
        if found is None:
            raise rejected(f"{path}.{field}", "answers no tool call of the assistant message before it")
        return found


def call_id(*given: str) -> str:
    """Return an id for a tool call: the same for the same texts, `call_` and 32 hex digits."""
    return "call_" + hashlib.sha256("\x1f".join(given).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_messages(given: object, talk: Talking) -> Talking:
    """Hand every message to `talk.hear`, or to its role's reader."""
    if not isinstance(given, list):
        raise rejected("messages", "must be a list with at least one message", "invalid_type")
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
        getattr(talk, reader)(message, path)
    return talk


class Call(NamedTuple):
    """A tool call. `key` is what its result will name; `arguments` is the caller's own text; `given` has the rest."""

    path: str  # of the function
    key: tuple[str, str]
    name: str
    arguments: Raw
    given: Block


def read_calls(
    message: Block, path: str, losses: Losses, *, name: Callable[[object, str], str], more: frozenset[str] = _NONE
) -> Iterator[Call]:
    """Yield the `tool_calls` of an assistant message, then its older `function_call`; `more`: members known besides."""
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise rejected(f"{path}.tool_calls", "must be a list", "invalid_type")
    for number, call in enumerate(calls or ()):
        at = f"{path}.tool_calls[{number}]"
        if not isinstance(call, dict):
            raise rejected(at, "must be an object", "invalid_type")
        if call.get("type", "function") != "function":
            raise rejected(f"{at}.type", "only calls of functions have an equivalent", "unsupported_value")
        losses.add_unknown(call, _CALL | more, at)
        given = call.get("id")
        if not isinstance(given, str) or not given:
            raise rejected(f"{at}.id", "must be a text", "invalid_type")
        called, arguments = _called(call.get("function"), f"{at}.function", losses, name)
        yield Call(f"{at}.function", ("id", given), called, arguments, call)
    if (legacy := message.get("function_call")) is not None:
        called, arguments = _called(legacy, f"{path}.function_call", losses, name)
        yield Call(f"{path}.function_call", ("function", called), called, arguments, {})


def _called(function: object, path: str, losses: Losses, name: Callable[[object, str], str]) -> tuple[str, Raw]:
    if not isinstance(function, dict):
        raise rejected(path, "must be an object", "invalid_type")
    losses.add_unknown(function, frozenset({"name", "arguments"}), path)
    return name(function.get("name"), f"{path}.name"), _arguments(function.get("arguments"), f"{path}.arguments")


def _arguments(given: object, path: str) -> Raw:
    """Return the text of a JSON object as it is: numbers of any length, order, spelling."""
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


def parts_of(content: object, path: str, readers: Mapping[str, T]) -> Iterator[tuple[T, Block, str]]:
    """Yield each part of a `content` that is a list, with its type's reader and its path. None has no parts.

    `path` is the message's; a text is the caller's business.
    """
    if content is None:
        return
    if not isinstance(content, list):
        raise rejected(f"{path}.content", "must be a text or a list of parts", "invalid_type")
    for number, part in enumerate(content):
        at = f"{path}.content[{number}]"
        if not isinstance(part, dict):
            raise rejected(at, "must be an object", "invalid_type")
        kind = part.get("type")
        reader = readers.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise rejected(f"{at}.type", f"must be one of {', '.join(readers)}, the parts that are read here")
        yield reader, part, at


def read_text(given: object, path: str) -> str:
    """Return a text."""
    if not isinstance(given, str):
        raise rejected(path, "must be a text", "invalid_type")
    return given


def read_image(
    part: Block, path: str, losses: Losses, more: frozenset[str] = _NONE, *, inner: frozenset[str] = _NONE
) -> tuple[str, object]:
    """Return URL and detail of an `image_url` part, which some clients write as the URL alone.

    `more`: further members that the format knows, of the part; `inner`: of the object in it.
    """
    losses.add_unknown(part, {"type", "image_url"} | more, path)
    image: Any = part.get("image_url")
    detail: object = None
    if isinstance(image, dict):
        losses.add_unknown(image, {"url", "detail"} | inner, f"{path}.image_url")
        image, detail = image.get("url"), image.get("detail")
    if not isinstance(image, str):
        raise rejected(f"{path}.image_url", "must hold a url", "invalid_type")
    return image, detail


def read_file(
    part: Block, path: str, losses: Losses, more: frozenset[str] = _NONE, *, inner: frozenset[str] = _NONE
) -> Block:
    """Return the `file` object of a file part; of its members `file_data`, `filename`, `file_id` any may be absent.

    `more`: further members that the format knows, of the part; `inner`: of the object in it.
    """
    losses.add_unknown(part, {"type", "file"} | more, path)
    given = part.get("file")
    if not isinstance(given, dict):
        raise rejected(f"{path}.file", "must be an object", "invalid_type")
    losses.add_unknown(given, {"file_data", "filename", "file_id"} | inner, f"{path}.file")
    return given


def is_remote(url: str) -> bool:
    """Whether a URL is to be fetched over HTTP."""
    return url[:8].lower().startswith(("http://", "https://"))


def payload(uri: str, path: str) -> tuple[str, str]:
    """Return media type, in small letters, and base64 text of a data URI."""
    head = _DATA_URI.match(uri)
    if head is None or head.end() == len(uri):
        raise rejected(path, "must be an http(s) URL or a data URI with base64 data")
    return head[1].lower(), uri[head.end() :]
