"""Pictures that a body names by URL: where they stand, and the body with other texts in their places.

A picture is the URL of an `image_url` part (chat, where some clients write the URL alone) or of an `input_image` part
(Responses) that begins with http:// or https://. As in `body_changes` only the objects on the way to it are taken
apart: what is not touched keeps its bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from proxy_plugin.ground.surrogates import marked, unmarked
from proxy_plugin.providers.base import LineRejected

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_LISTS = frozenset({"messages", "input"})  # members of a body that hold items
_PARTS = frozenset({"content", "output"})  # members of an item that hold parts
_KINDS = frozenset({"image_url", "input_image"})
_PLACE = f'"picture {secrets.token_hex(16)}"'.encode()  # stands for a URL while the rest is encoded; nobody can know it


class Picture(NamedTuple):
    """One URL, with its path as the translators write it: `messages[0].content[1].image_url.url`."""

    path: str
    url: str


class Apart(NamedTuple):
    """A body cut at its pictures: one piece more than pictures. The quotes of the URLs are in no piece."""

    pieces: list[bytes]
    pictures: list[Picture]


_Change = Callable[[Raw, str], Raw | None]  # a value and its path -> what stands for it, None for itself


def taken_apart(body: bytes) -> Apart:
    """Cut a JSON object at the URLs of its pictures.

    Raises LineRejected for a body with a field whose name is no Unicode text.
    """
    if b"image" not in body and b"\\u" not in body:
        return Apart([body], [])
    try:
        return _Search().body(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:  # msgspec refuses an escaped half of a surrogate pair even in a value that it only steps over
        found = _Search().body(bytes(marked(body)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = "A field of the body has a name that is no Unicode text; remove the field."
        raise LineRejected(message, code="invalid_value", param="body") from None
    return Apart([unmarked(piece) for piece in found.pieces], found.pictures)


class _Search:
    """One walk through a body: the pictures gather here in the order of the text."""

    def __init__(self) -> None:
        self._found: list[Picture] = []

    def body(self, body: bytes) -> Apart:
        changed = self._members(Raw(body), "", _LISTS, self._list_of_items)
        if not self._found or changed is None:
            return Apart([body], [])
        return Apart(bytes(changed).split(_PLACE), self._found)

    def _list_of_items(self, value: Raw, path: str) -> Raw | None:
        return self._each(value, path, self._item)

    def _item(self, value: Raw, path: str) -> Raw | None:
        return self._members(value, path, _PARTS, self._list_of_parts)

    def _list_of_parts(self, value: Raw, path: str) -> Raw | None:
        return self._each(value, path, self._part)

    def _part(self, value: Raw, path: str) -> Raw | None:
        if _kind(value) != b"{" or _text(_members(value).get("type")) not in _KINDS:
            return None
        return self._members(value, path, {"image_url"}, self._image)

    def _image(self, value: Raw, path: str) -> Raw | None:
        return self._url(value, path) or self._members(value, path, {"url"}, self._url)

    def _url(self, value: Raw, path: str) -> Raw | None:
        text = _text(value)
        if text is None or not text[:8].lower().startswith(("http://", "https://")):
            return None
        self._found.append(Picture(path, text))
        return Raw(_PLACE)

    def _members(self, value: Raw, path: str, names: set[str] | frozenset[str], change: _Change) -> Raw | None:
        if _kind(value) != b"{":
            return None
        members, before = _members(value), f"{path}." if path else ""
        changed = {n: new for n, old in members.items() if n in names and (new := change(old, before + n))}
        return Raw(_encode(members | changed)) if changed else None

    def _each(self, value: Raw, path: str, change: _Change) -> Raw | None:
        if _kind(value) != b"[":
            return None
        items = _items(value)
        changed = {n: new for n, old in enumerate(items) if (new := change(old, f"{path}[{n}]"))}
        return Raw(_encode([changed.get(n, old) for n, old in enumerate(items)])) if changed else None


def _kind(value: Raw) -> bytes:
    return bytes(memoryview(value)[:64]).lstrip()[:1]


def _text(value: Raw | None) -> str | None:
    """Return a JSON string's value; None for what is no string, or none that UTF-8 can hold."""
    if value is None or _kind(value) != b'"':
        return None
    try:
        return _string(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
