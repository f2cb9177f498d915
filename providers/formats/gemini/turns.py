"""The conversation of a chat body as Gemini's `systemInstruction` and `contents`.

Shapes: types of Google's google-genai 3.4. `fileData`: https addresses by both services, gs:// by Vertex alone ("File
input methods" of the Gemini API, October 2026; Vertex's inference reference). A model of Gemini 3 or later refuses a
function call without its thought signature; for calls that come without one Google documents a text that stands in
("Thought signatures", both services, November 2026).

A conversation must end with the user or a tool (reference of both services), and texts must not be empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy_plugin.providers.formats.gemini.models import ModelFacts
from proxy_plugin.providers.formats.gemini.tools import tool_name
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import (
    ASSISTANT,
    Block,
    Call,
    Talk,
    is_remote,
    parts_of,
    payload,
    read_calls,
    read_file,
    read_image,
    read_messages,
    read_text,
)

NO_SIGNATURE = "skip_thought_signature_validator"
_EXTRA = frozenset({"extra_content"})
_FORMAT = frozenset({"format"})
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_PDF = "application/pdf"
_BARE_PDF = "JVBERi"  # base64 of %PDF-
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg",
          "flac": "audio/flac"}  # fmt: skip
_BY_SUFFIX = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "heic": "image/heic",
    "heif": "image/heif", "gif": "image/gif", "pdf": _PDF, "txt": "text/plain", "md": "text/md", "html": "text/html",
    "css": "text/css", "csv": "text/csv", "xml": "text/xml", "json": "application/json", "mp4": "video/mp4",
    "mpeg": "video/mpeg", "mov": "video/mov", "webm": "video/webm", **_AUDIO,
}  # fmt: skip


class Turns(NamedTuple):
    """A translated conversation."""

    system: Block | None
    contents: list[Block]


def read_turns(given: object, losses: Losses, facts: ModelFacts, *, vertex: bool) -> Turns:
    """Translate `messages`. Raises LineRejected."""
    return read_messages(given, _Talk(losses, facts, vertex=vertex)).turns()


class _Talk(Talk):
    """`parts` belong to the last content, whose role is `role`."""

    __slots__ = ("contents", "facts", "order", "parts", "results", "role", "vertex")
    ASSISTANT = ASSISTANT | _EXTRA
    BLANK = "Gemini takes no empty message; remove it or give it content"
    AUDIO = "names audio that Gemini does not have; send the text"
    ID = re.compile(r".+", re.DOTALL)  # no rule is known

    def __init__(self, losses: Losses, facts: ModelFacts, *, vertex: bool) -> None:
        super().__init__(losses)
        self.facts, self.vertex = facts, vertex
        self.contents: list[Block] = []
        self.role = ""
        self.parts: list[Block] = []
        self.order: list[str] = []  # ids of the last turn's calls
        self.results: dict[str, Block] = {}

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other."""
        if not isinstance(content, str) or self.open or not content:
            return False
        if role == "user":
            self.say("user", {"text": content})
        elif role == "assistant":
            self.say("model", {"text": content})
        elif role in ("system", "developer"):
            self.system.append({"text": content})
        else:
            return False
        return True

    def say(self, role: str, *parts: Block) -> None:
        """Add parts to the content of that role, or begin one."""
        if role != self.role:
            self.role, self.parts = role, []
            self.contents.append({"role": role, "parts": self.parts})
        self.parts += parts

    def answer(self, given_id: str, response: Block) -> None:
        """Keep the result of a call until all of its turn are here: they go in the order of their calls."""
        self.results[given_id] = {"functionResponse": response}
        if not self.open:
            self.close()

    def close(self) -> None:
        """Write the results of one turn, as a content of their own: as many responses as calls, nothing else."""
        parts = [self.results[each] for each in self.order if each in self.results]
        self.contents.append({"role": "user", "parts": parts})
        self.results, self.order, self.role = {}, [], ""

    def content(self, message: Block, path: str, role: str) -> list[Block]:
        return _parts(self, message, path, _PARTS[role])

    def add_user(self, _message: Block, content: list[Block], _path: str) -> None:
        self.say("user", *content)

    def add_assistant(self, message: Block, path: str) -> None:
        parts = self.content(message, path, "assistant")
        if message.get("refusal") is not None and (refusal := read_text(message["refusal"], f"{path}.refusal")):
            parts.append({"text": refusal})
        signature = _signature(self, message, path)
        if signature:
            parts = parts or [{"text": ""}]
            parts[-1]["thoughtSignature"] = signature
        calls = list(read_calls(message, path, self.losses, name=tool_name, more=_EXTRA))
        said = parts + [_function_call(self, call, first=number == 0) for number, call in enumerate(calls)]
        if said:
            self.say("model", *said)

    def add_result(self, native_id: str, name: str, message: Block, path: str) -> None:
        """Add a result under `output`, the key that Google names for it; a text stays a text."""
        content = message.get("content")
        if not isinstance(content, str):
            texts = [part["text"] for part in self.content(message, path, "tool")]
            content = texts[0] if len(texts) == 1 else texts or ""
        response: Block = {"name": name, "response": {"output": content}}
        self.answer(native_id, {"id": native_id, **response} if self.facts.call_ids else response)

    def turns(self) -> Turns:
        self.require_answers()
        if not self.contents:
            raise rejected("messages", "at least one user message is needed beside system messages")
        if self.contents[-1]["role"] == "model":
            raise rejected("messages", "Gemini cannot continue an assistant's message; end with one of the user's")
        return Turns({"parts": self.system} if self.system else None, self.contents)


def _function_call(talk: _Talk, call: Call, *, first: bool) -> Block:
    """Return a functionCall part. Of parallel calls only the first has a signature."""
    given_id = talk.call(call.key, call.name, call.path)
    talk.order.append(given_id)
    function: Block = {"name": call.name, "args": call.arguments}
    if talk.facts.call_ids:
        function = {"id": given_id, **function}
    part: Block = {"functionCall": function}
    signature = _signature(talk, call.given, call.path.rpartition(".")[0])
    if signature or (first and talk.facts.signatures):
        part["thoughtSignature"] = signature or NO_SIGNATURE
    return part


def _signature(talk: _Talk, given: Block, path: str) -> str | None:
    """Return `extra_content.google.thought_signature`, where Google's own OpenAI-compatible API puts it."""
    extra = given.get("extra_content")
    if extra is None:
        return None
    google = extra.get("google") if isinstance(extra, dict) else None
    if not isinstance(google, dict | None) or not isinstance(extra, dict):
        raise rejected(f"{path}.extra_content", "must be an object that holds an object google", "invalid_type")
    talk.losses.add_unknown(extra, frozenset({"google"}), f"{path}.extra_content")
    where = f"{path}.extra_content.google"
    talk.losses.add_unknown(google or {}, frozenset({"thought_signature"}), where)
    found = (google or {}).get("thought_signature")
    return None if found is None else read_text(found, f"{where}.thought_signature")


def _parts(talk: _Talk, message: Block, path: str, readers: dict[str, _PartReader]) -> list[Block]:
    """Translate `content`: None, a text or a list of parts. Empty texts are left out: the API refuses them."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"text": content}] if content else []
    found = [reader(talk, part, at) for reader, part, at in parts_of(content, path, readers)]
    return [part for part in found if part is not None]


def _text_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "text"}), path)
    text = read_text(part.get("text"), f"{path}.text")
    return {"text": text} if text else None


def _refusal_part(talk: _Talk, part: Block, path: str) -> Block | None:
    talk.losses.add_unknown(part, frozenset({"type", "refusal"}), path)
    text = read_text(part.get("refusal"), f"{path}.refusal")
    return {"text": text} if text else None


def _image_part(talk: _Talk, part: Block, path: str) -> Block:
    url, detail = read_image(part, path, talk.losses, inner=_FORMAT)
    if detail not in (None, "auto"):
        talk.losses.add(f"{path}.image_url.detail", "Gemini chooses the detail itself", "Send auto")
    image = part["image_url"]
    media = _format(image, f"{path}.image_url") if isinstance(image, dict) else None
    return _media(talk, url, media, f"{path}.image_url.url")


def _file_part(talk: _Talk, part: Block, path: str) -> Block:
    """Translate a file: its data, or a file_id that is an address. Its name tells the type; it has no other place."""
    file = read_file(part, path, talk.losses, inner=_FORMAT)
    media, name = _format(file, f"{path}.file"), file.get("filename")
    if not isinstance(name, str | None):
        raise rejected(f"{path}.file.filename", "must be a text", "invalid_type")
    media = media or _by_suffix(name or "")
    if file.get("file_id") is not None:
        at = f"{path}.file.file_id"
        if file.get("file_data") is not None:
            raise rejected(at, "cannot stand beside file_data; send one of them")
        return _remote(talk, read_text(file["file_id"], at), media, at)
    at = f"{path}.file.file_data"
    data = read_text(file.get("file_data"), at)
    if data[:5].lower() == "data:":
        return _media(talk, data, None, at)
    media = _PDF if data.startswith(_BARE_PDF) else media
    if media is None or not data:
        raise rejected(at, "must be a data URI, or base64 data with a filename that tells its type")
    return {"inlineData": {"mimeType": media, "data": data}}


def _audio_part(talk: _Talk, part: Block, path: str) -> Block:
    talk.losses.add_unknown(part, frozenset({"type", "input_audio"}), path)
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise rejected(f"{path}.input_audio", "must be an object", "invalid_type")
    talk.losses.add_unknown(audio, frozenset({"data", "format"}), f"{path}.input_audio")
    data, kind = audio.get("data"), audio.get("format")
    if not isinstance(data, str) or not data:
        raise rejected(f"{path}.input_audio.data", "must be base64 data", "invalid_type")
    if not isinstance(kind, str) or kind not in _AUDIO:
        raise rejected(f"{path}.input_audio.format", f"must be one of {', '.join(_AUDIO)}", "unsupported_value")
    return {"inlineData": {"mimeType": _AUDIO[kind], "data": data}}


def _media(talk: _Talk, uri: str, media: str | None, path: str) -> Block:
    """Return the part of a data URI, or of an address that the service itself reads."""
    if is_remote(uri) or uri[:5] == "gs://":
        return _remote(talk, uri, media, path)
    found, data = payload(uri, path)
    return {"inlineData": {"mimeType": "image/jpeg" if found == "image/jpg" else found, "data": data}}


def _remote(talk: _Talk, uri: str, media: str | None, path: str) -> Block:
    if uri[:5] == "gs://" and not talk.vertex:
        raise rejected(
            path, "the Gemini API reads no gs:// address; send an https URL or the data", "unsupported_value"
        )
    if uri[:5] != "gs://" and not is_remote(uri):
        message = "names a file that Gemini cannot read; send an address of it or the data itself"
        raise rejected(path, message, "unsupported_parameter")
    media = media or _by_suffix(_path_of(uri))
    if media is not None:
        return {"fileData": {"mimeType": media, "fileUri": uri}}
    if talk.vertex:
        raise rejected(path, "has no file ending that tells its media type; add it as format beside the address")
    return {"fileData": {"fileUri": uri}}  # the Gemini API knows the type of a file that it keeps


def _path_of(uri: str) -> str:
    try:
        return urlsplit(uri).path
    except ValueError:
        return ""


def _by_suffix(name: str) -> str | None:
    return _BY_SUFFIX.get(name.rpartition(".")[2].lower())


def _format(given: Block, path: str) -> str | None:
    """Return `format`, LiteLLM's name for the media type beside an address."""
    found = given.get("format")
    if found is None:
        return None
    if not isinstance(found, str) or not _MEDIA_TYPE.fullmatch(found):
        raise rejected(f"{path}.format", "must be a media type such as image/png")
    return found


_PartReader = Callable[[_Talk, Block, str], Block | None]
_TEXT: dict[str, _PartReader] = {"text": _text_part}
_PARTS: dict[str, dict[str, _PartReader]] = {
    "system": _TEXT,
    "user": {**_TEXT, "image_url": _image_part, "file": _file_part, "input_audio": _audio_part},
    "assistant": {**_TEXT, "refusal": _refusal_part},
    "tool": _TEXT,
}
