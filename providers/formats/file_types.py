"""What a file is by its first bytes: clients often write another type in front of its data, and services look.

Signatures: the formats' own specifications. Only what is certain from a few bytes is told; a text looks like any other.
"""

from __future__ import annotations

import binascii

HEAD = 64  # base64 characters, 48 bytes: the longest signature here ends at byte 12, a declaration needs a few more
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif",
           b"avif": "image/avif"}  # fmt: skip
_MARKUP = ((b"<svg", "image/svg+xml"), (b"<?xml", "image/svg+xml"), (b"<!doctype html", "text/html"),
           (b"<html", "text/html"))  # fmt: skip
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
_CONTAINERS = ("application/zip", "application/x-ole-storage")
_PICTURES_AND_PDF = ("image/", "application/pdf", "application/x-pdf")


def type_of(data: str) -> str | None:
    """Return the media type that the first bytes of base64 data show; None where they do not tell."""
    head = _head(data)
    for signature, media in _SIGNATURES:
        if head.startswith(signature):
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
    if found in _CONTAINERS and not said.startswith(_PICTURES_AND_PDF):
        return said
    return found


def _head(data: str) -> bytes:
    """Return the first bytes; nothing where the data is no base64."""
    start = data[:HEAD]
    if "\n" in start or "\r" in start or " " in start:
        start = "".join(data[: 2 * HEAD].split())[:HEAD]
    try:
        return binascii.a2b_base64(start + "=" * (-len(start) % 4))
    except (binascii.Error, ValueError):
        return b""
