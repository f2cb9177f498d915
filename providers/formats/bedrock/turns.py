"""The conversation of a chat body as Converse's `system` and `messages`, which Nova's own format shares.

Shapes: Converse of botocore 1.43.117; Nova User Guide, "Request and response schema". What the service refuses in a
conversation (blank text, a first turn of the assistant's, equal names of documents, a document without text): error
texts in public issue threads, 2024 to 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.formats.bedrock.models import ModelFacts
from proxy_plugin.providers.formats.file_types import UNSAID, is_text, true_type, usual_type
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import (
    ASSISTANT,
    SPOKEN,
    TOOL,
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

Block = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_IMAGES = {"image/jpeg": "jpeg", "image/jpg": "jpeg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
_ENDINGS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}.wordprocessingml.document": "docx",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
}
_BY_ENDING = {"htm": "html", **dict.fromkeys(("json", "jsonl", "xml", "yaml", "yml", "tsv", "log", "text"), "txt")}
_BARE_PDF = "JVBERi"  # base64 of %PDF-
_NO_URL = "Bedrock fetches no URLs; send a data URI, or an s3:// object of the batch's folder"
_S3 = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9]/.*\.([A-Za-z]+)", re.DOTALL)
_MAX_URI = 1024
_NO_NAME = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_MAX_NAME = 190  # 200, less the number that tells equal names apart
_MARKS = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"})
_MARK = frozenset({"cache_control"})


@dataclass(slots=True)
class Turns:
    """A translated conversation. `called` holds the functions that its tool calls name."""

    system: list[Block]
    messages: list[Block]
    called: list[str]
    ends_with_results: bool

    @property
    def ends_with_assistant(self) -> bool:
        """Whether the answer is to continue the last message (prefill)."""
        return bool(self.messages[-1]["role"] == "assistant")


def read_turns(given: object, facts: ModelFacts, losses: Losses) -> Turns:
    """Translate `messages`. Raises LineRejected."""
    return read_messages(given, _Talk(facts, losses)).turns()


def tool_name(given: object, path: str) -> str:
    """Check a function's name. Raises LineRejected."""
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise rejected(path, "must be a name of 1 to 64 letters, digits, _ or -")
    return given


def cache_point(given: object, path: str, facts: ModelFacts, losses: Losses) -> Block | None:
    """Return the block that stands for a `cache_control` extension; it follows what is to be cached."""
    if given is None:
        return None
    if given not in _MARKS or not isinstance(given, dict):
        raise rejected(f"{path}cache_control", 'must be {"type": "ephemeral"}, with a ttl of 5m or 1h if any')
    if not facts.caching:
        losses.add(f"{path}cache_control", "this model has no prompt cache", "Remove it")
        return None
    return {"cachePoint": {"type": "default", **({"ttl": given["ttl"]} if "ttl" in given else {})}}


class _Talk(Talk):
    """Turns of one role are one message."""

    __slots__ = ("documents", "facts", "messages")
    SPOKEN, ASSISTANT, TOOL = SPOKEN | _MARK, ASSISTANT | _MARK, TOOL | _MARK
    BLANK = "Bedrock takes no blank message; remove it or give it content"
    AUDIO = "Bedrock takes no audio here; send the text instead"
    ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")

    def __init__(self, facts: ModelFacts, losses: Losses) -> None:
        super().__init__(losses)
        self.facts = facts
        self.messages: list[Block] = []
        self.documents: dict[str, int] = {}  # names, with the last number that was tried behind each

    def hear(self, role: object, content: object) -> bool:
        """Take a message of nothing but a role and a text; False for any other."""
        if not isinstance(content, str) or self.open or not content or content.isspace():
            return False
        if role in ("user", "assistant"):
            self.say(role, [{"text": content}])
        elif role in ("system", "developer") and self.facts.system and not self.messages:
            self.system.append({"text": content})
        else:
            return False
        return True

    def say(self, role: str, blocks: list[Block]) -> None:
        """Add a turn: "roles must alternate", so it joins an earlier one of the same role."""
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def mark(self, blocks: list[Block], given: Block, path: str) -> None:
        """Put the cache point of a message or part behind its blocks."""
        point = cache_point(given.get("cache_control"), f"{path}.", self.facts, self.losses)
        if point is not None and blocks and "cachePoint" not in blocks[-1]:
            blocks.append(point)

    def document_name(self, given: object, path: str) -> str:
        """Return a name that the service accepts, unlike those before it."""
        if given is not None and not isinstance(given, str):
            raise rejected(f"{path}.file.filename", "must be a text", "invalid_type")
        words = _NO_NAME.sub(" ", (given or "").rpartition(".")[0] or given or "").strip()
        plain = words[:_MAX_NAME].strip() or "document"
        name, number = plain, self.documents.get(plain, 1)
        while name in self.documents:
            number += 1
            name = f"{plain} {number}"
        self.documents[plain] = number
        self.documents.setdefault(name, 1)
        return name

    def content(self, message: Block, path: str, role: str) -> list[Block]:
        return _blocks(self, message, path, _PARTS[role], mark=role in ("system", "user"))

    def read_system(self, message: Block, path: str) -> None:
        if not self.facts.system:
            raise rejected(path, "this model has no system messages; put the text into the user's message")
        before = len(self.system)
        super().read_system(message, path)
        if self.messages and len(self.system) > before:
            self.losses.hint(path, "Bedrock has system texts before all others only", "Move it there", instead="first")

    def add_user(self, _message: Block, content: list[Block], path: str) -> None:
        if any("document" in block for block in content) and not any("text" in block for block in content):
            raise rejected(f"{path}.content", "Bedrock takes no document without a text in the same message")
        self.say("user", content)

    def add_assistant(self, message: Block, path: str) -> None:
        blocks = self.content(message, path, "assistant")
        if message.get("refusal") is not None:
            blocks += _said(read_text(message["refusal"], f"{path}.refusal"))
        for call in read_calls(message, path, self.losses, name=tool_name, more=_MARK):
            given = self.call(call.key, call.name, call.path)
            blocks.append({"toolUse": {"toolUseId": given, "name": call.name, "input": call.arguments}})
            self.mark(blocks, call.given, call.path.rpartition(".")[0])
        self.mark(blocks, message, path)
        if blocks:
            self.say("assistant", blocks)

    def add_result(self, native_id: str, _name: str, message: Block, path: str) -> None:
        """Add a result: all results of one turn stand in one user message."""
        content = self.content(message, path, "tool")
        blocks: list[Block] = [{"toolResult": {"toolUseId": native_id, "content": content}}]
        self.mark(blocks, message, path)
        self.say("user", blocks)

    def turns(self) -> Turns:
        self.require_answers()
        if not self.messages:
            raise rejected("messages", "at least one user message is needed beside system messages")
        if self.messages[0]["role"] != "user":
            raise rejected("messages", "Bedrock wants a first message of the user's")
        last = self.messages[-1]
        if last["role"] == "assistant":
            if not self.facts.prefill:
                raise rejected("messages", "this model cannot continue an assistant's message; end with the user's")
            if last["content"][-1].get("text", "")[-1:].isspace():
                raise rejected("messages", "a last assistant message must not end with white space; cut it off")
        results = last["role"] == "user" and any("toolResult" in block for block in last["content"])
        return Turns(self.system, self.messages, list(self.called), results)


def _blocks(
    talk: _Talk, message: Block, path: str, readers: dict[str, _PartReader], *, mark: bool = True
) -> list[Block]:
    """Translate `content`: None, a text or a list of parts. Blank texts are left out: the service refuses them."""
    content = message.get("content")
    blocks = _said(content) if isinstance(content, str) else []
    if not isinstance(content, str):
        for reader, part, at in parts_of(content, path, readers):
            found = reader(talk, part, at)
            talk.mark(found, part, at)
            blocks += found
    if mark:
        talk.mark(blocks, message, path)
    return blocks


def _said(text: str) -> list[Block]:
    return [{"text": text}] if text and not text.isspace() else []


def _text_part(talk: _Talk, part: Block, path: str) -> list[Block]:
    talk.losses.add_unknown(part, {"type", "text"} | _MARK, path)
    return _said(read_text(part.get("text"), f"{path}.text"))


def _refusal_part(talk: _Talk, part: Block, path: str) -> list[Block]:
    talk.losses.add_unknown(part, {"type", "refusal"} | _MARK, path)
    return _said(read_text(part.get("refusal"), f"{path}.refusal"))


def _image_part(talk: _Talk, part: Block, path: str) -> list[Block]:
    if not talk.facts.images:
        raise rejected(path, "this model takes no images", "unsupported_parameter")
    url, detail = read_image(part, path, talk.losses, _MARK)
    at = f"{path}.image_url.url"
    if detail not in (None, "auto"):
        talk.losses.add(f"{path}.image_url.detail", "the model chooses the detail itself", "Send auto")
    if is_remote(url):
        raise rejected(at, f"{_NO_URL}, or set fetch_media in the route")
    if (ending := _object(url, at)) is not None:
        if ending not in _ENDINGS:
            raise rejected(at, "must end in jpg, jpeg, png, gif or webp", "unsupported_value")
        return [{"image": {"format": _ENDINGS[ending], "source": {"s3Location": {"uri": url}}}}]
    media, data = real_payload(url, at, talk.losses)
    if media not in _IMAGES:
        raise rejected(at, "must be a JPEG, PNG, GIF or WebP image", "unsupported_value")
    return [{"image": {"format": _IMAGES[media], "source": {"bytes": data}}}]


def _file_part(talk: _Talk, part: Block, path: str) -> list[Block]:
    if not talk.facts.documents:
        raise rejected(path, "this model takes no documents; send their text", "unsupported_parameter")
    given = read_file(part, path, talk.losses, _MARK, inner=frozenset({"file_url"}))
    if given.get("file_data") is None and given.get("file_url") is not None:
        raise rejected(f"{path}.file.file_url", _NO_URL)
    if given.get("file_id") is not None:
        message = "names a file that Bedrock cannot read; send the document itself as file_data"
        raise rejected(f"{path}.file.file_id", message, "unsupported_parameter")
    at = f"{path}.file.file_data"
    data = read_text(given.get("file_data"), at)
    kind, source = "pdf", Block({"bytes": data})
    if (ending := _object(data, at)) is not None:
        kind, source = ending, {"s3Location": {"uri": data}}
    elif not data.startswith(_BARE_PDF):
        media, data = _typed(data, given.get("filename"), at, talk.losses)
        kind, source = _kind(media, given.get("filename"), at, talk.losses), {"bytes": data}
    if kind not in _DOCUMENTS.values():
        raise rejected(at, f"must be one of {', '.join(_DOCUMENTS.values())}", "unsupported_value")
    name = talk.document_name(given.get("filename"), path)
    return [{"document": {"format": kind, "name": name, "source": source}}]


def _typed(data: str, name: object, path: str, losses: Losses) -> tuple[str, str]:
    """Return type and base64 text of a file; data without a URI around it has none, where its name tells a format."""
    bare = data[:5].lower() != "data:" and isinstance(name, str) and bool(data)
    return (
        ("", data)
        if bare and _kind("", name, path, losses) in _DOCUMENTS.values()
        else real_payload(data, path, losses)
    )


def _kind(media: str, name: object, path: str, losses: Losses) -> str:
    """Return the format of a document: by its type, by its name where that says nothing; texts of others are texts."""
    if media in UNSAID and isinstance(name, str):
        ending = name.rpartition(".")[2].lower()
        return _BY_ENDING.get(ending, ending)
    if media not in _DOCUMENTS and is_text(media):
        losses.hint(path, "Bedrock has no such type of text", "Send it as text/plain", instead="text/plain")
        return "txt"
    return _DOCUMENTS.get(media, "")


def _result_file(talk: _Talk, part: Block, path: str) -> list[Block]:
    """Translate a document in the result of a tool ("Tool use", Nova User Guide, 2026: texts, JSON and images)."""
    if not talk.facts.result_documents:
        reason = "this model takes no documents in the results of tools; send it in a message of the user's"
        raise rejected(path, reason, "unsupported_parameter")
    return _file_part(talk, part, path)


def real_payload(uri: str, path: str, losses: Losses) -> tuple[str, str]:
    """Return type and base64 text of a data URI. First bytes of another type than it says win, which is noted."""
    given, data = payload(uri, path)
    said = usual_type(given)
    media = true_type(said, data)
    if media != said:
        losses.hint(path, f"its first bytes are {media}", "Say so in the data URI", instead=media)
    return media, data


def _object(uri: str, path: str) -> str | None:
    """Return the ending, in small letters, of an S3 object's name; None for what is no S3 URI."""
    if not uri.startswith("s3://"):
        return None
    found = _S3.fullmatch(uri)
    if found is None or len(uri) > _MAX_URI:
        raise rejected(path, "must be s3://bucket/key of 1,024 characters at most, with the ending of its format")
    return found[1].lower()


def _audio_part(_talk: _Talk, _part: Block, path: str) -> list[Block]:
    raise rejected(path, "audio has no place here; send a transcript as text", "unsupported_parameter")


_PartReader = Callable[[_Talk, Block, str], list[Block]]
_TEXT: dict[str, _PartReader] = {"text": _text_part}
_USER_PARTS: dict[str, _PartReader] = {**_TEXT, "image_url": _image_part, "file": _file_part}
_PARTS: dict[str, dict[str, _PartReader]] = {
    "system": _TEXT,
    "user": {**_USER_PARTS, "input_audio": _audio_part},
    "assistant": {**_TEXT, "refusal": _refusal_part},
    "tool": {**_USER_PARTS, "file": _result_file},
}
