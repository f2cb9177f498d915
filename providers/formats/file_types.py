"""What a file is by its first bytes: clients often write another type in front of its data, and services look.

Signatures: the formats' own specifications, as in "File signatures" of the WHATWG MIME Sniffing Standard. Only what is
certain from a few bytes is told. A text looks like any other, and may begin with the words of a signature.
"""

from __future__ import annotations

import binascii
import re

HEAD = 64  # base64 characters, 48 bytes: the longest signature here ends at byte 12, a declaration needs a few more
UNSAID = frozenset({"", "application/octet-stream", "binary/octet-stream"})  # say nothing of what a file is
OFFICE = frozenset({"application/zip", "application/x-ole-storage"})  # the wrappings of office files
_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"PK\x03\x04"), "application/zip"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "application/x-ole-storage"),
    (re.compile(rb"OggS\x00"), "audio/ogg"),
    (re.compile(rb"fLaC[\x00\x80]"), "audio/flac"),
    (re.compile(rb"ID3[\x02-\x04]"), "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif",
           b"avif": "image/avif"}  # fmt: skip
_MARKUP = ((b"<svg", "image/svg+xml"), (b"<?xml", "image/svg+xml"), (b"<!doctype html", "text/html"),
           (b"<html", "text/html"))  # fmt: skip
_USUAL = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
    "application/csv": "text/csv",
    "text/x-csv": "text/csv",
    "application/markdown": "text/markdown",
    "text/x-markdown": "text/markdown",
}
# What a container may rightly call itself: office files are ZIP archives or OLE storages, Ogg and MP4 hold many things.
_KIN = {
    "image/jpeg": ("image/jpg", "image/pjpeg"),
    "image/heic": ("image/heif",),
    "image/heif": ("image/heic",),
    "image/png": ("image/x-png", "image/apng"),
    "application/pdf": ("application/x-pdf",),
    "audio/mpeg": ("audio/mp3", "audio/mpga", "audio/x-mp3", "audio/mpeg3"),
    "audio/wav": ("audio/x-wav", "audio/wave", "audio/vnd.wave"),
    "audio/ogg": ("audio/opus", "audio/vorbis", "video/ogg", "application/ogg"),
    "audio/flac": ("audio/x-flac",),
    "video/x-msvideo": ("video/avi", "video/msvideo"),
}
_PICTURES_AND_PDF = ("image/", "application/pdf", "application/x-pdf")
_TEXTS = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:x-)?(?:json|jsonl|ndjson|yaml|csv|markdown|javascript|xml)\b")
_BINARY = re.compile(rb"[\x00-\x06\x0e-\x1a\x7f]|%PDF-")  # what no text holds, and what no text begins with


def usual_type(said: str) -> str:
    """Return the usual name of a media type that has several."""
    return _USUAL.get(said, said)


def is_text(media: str) -> bool:
    """Whether a media type is one of texts."""
    return _TEXTS.match(media) is not None


def type_of(data: str) -> str | None:
    """Return the media type that the first bytes of base64 data show; None where they do not tell."""
    head = _head(data)
    for signature, media in _SIGNATURES:
        if signature.match(head):
            return media
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def true_type(said: str, data: str) -> str:
    """Return the media type of base64 data: what is `said` of it, unless its first bytes show that it is another."""
    found = type_of(data)
    if found is None and said.startswith(_PICTURES_AND_PDF):
        start = _head(data).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        found = next((media for text, media in _MARKUP if start.startswith(text)), None)
    if found is None or found == said or said in _KIN.get(found, ()):
        return said
    if is_text(said):
        return found if _BINARY.search(_head(data)) else said
    return said if found in OFFICE and not said.startswith(_PICTURES_AND_PDF) else found


def _head(data: str) -> bytes:
    """Return the first bytes; nothing where the data is no base64."""
    start = data[:HEAD]
    if "\n" in start or "\r" in start or " " in start:
        start = "".join(data[: 2 * HEAD].split())[:HEAD]
    try:
        return binascii.a2b_base64(start + "=" * (-len(start) % 4))
    except (binascii.Error, ValueError):
        return b""
