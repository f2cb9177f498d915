"""What a file is, by its first bytes: what a data URI says of itself is often wrong.

Signatures: the formats' own specifications, as listed in "File signatures" of the WHATWG MIME Sniffing Standard.
"""

from __future__ import annotations

import binascii

_HEAD = 32  # characters of base64: 24 bytes
OFFICE = frozenset({"application/zip", "application/x-ole-storage"})  # the wrappings of office files
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"<svg", "image/svg+xml"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_BRANDS = (
    (b"RIFF", 8, b"WEBP", "image/webp"),
    (b"", 4, b"ftypheic", "image/heic"),
    (b"", 4, b"ftypavif", "image/avif"),
)


def type_of(data: str) -> str | None:
    """Return the media type of base64 data by its first bytes; None for what has no signature."""
    try:
        head = binascii.a2b_base64(data[:_HEAD] + "=" * (-min(len(data), _HEAD) % 4))
    except ValueError:
        return None
    for signature, media in _SIGNATURES:
        if head.startswith(signature):
            return media
    for start, at, brand, media in _BRANDS:
        if head.startswith(start) and head.startswith(brand, at):
            return media
    return None
