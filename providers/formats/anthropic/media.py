"""Pictures and documents of a chat body as Anthropic's blocks.

Sources: "Vision" (JPEG, PNG, GIF, WebP), "PDF support" and "Files" (a text is a document too; CSV, Markdown and HTML
are texts), Claude Platform docs, copies up to November 2026; types of the official SDK 2.12: a document is a PDF as
base64 or by URL, or a text as `text/plain`. The API compares what a picture says it is with its first bytes.
"""

from __future__ import annotations

import binascii

from proxy_plugin.providers.formats.file_types import OFFICE, UNSAID, is_text, true_type, type_of, usual_type
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import Block, is_remote, payload, read_file, read_image

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_TEXT_NAMES = (".txt", ".md", ".csv", ".tsv", ".html", ".htm", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".log")
_MARK = frozenset({"cache_control"})
_NO_URL = "this service fetches no URLs; send a data URI, or set fetch_media in the route"


def image_block(part: Block, path: str, losses: Losses, *, fetches: bool) -> Block:
    """Return the block of an `image_url` part; `fetches`: whether it may stand as a URL. Raises LineRejected."""
    image, detail = read_image(part, path, losses, _MARK)
    if detail not in (None, "auto"):
        losses.add(f"{path}.image_url.detail", "Anthropic chooses the detail itself", "Send auto")
    at = f"{path}.image_url.url"
    if is_remote(image):
        if not fetches:
            raise rejected(at, _NO_URL)
        return {"type": "image", "source": {"type": "url", "url": image}}
    said, data = payload(image, at)
    media = _real(said, data, at, losses)
    if media not in _IMAGES:
        raise rejected(at, _not_an_image(media), "unsupported_value")
    return _image(media, data)


def file_block(part: Block, path: str, losses: Losses, *, fetches: bool) -> Block:
    """Return the block of a `file` part: a document, or a picture. Raises LineRejected."""
    given = read_file(part, path, losses, _MARK, inner=frozenset({"file_url"}))
    if given.get("file_id") is not None:
        message = "names a file that Anthropic cannot read; send the file itself as file_data"
        raise rejected(f"{path}.file.file_id", message, "unsupported_parameter")
    data, name = given.get("file_data"), given.get("filename")
    if data is None and given.get("file_url") is not None:
        block = _by_url(given["file_url"], f"{path}.file.file_url", fetches=fetches)
    elif isinstance(data, str) and isinstance(name, str | None):
        block = _by_data(data, name or "", f"{path}.file.file_data", losses)
    else:
        raise rejected(f"{path}.file", "must hold file_data and a filename as texts", "invalid_type")
    return {**block, "title": name} if isinstance(name, str) and name and block["type"] == "document" else block


def _by_url(url: object, path: str, *, fetches: bool) -> Block:
    if not isinstance(url, str) or not is_remote(url):
        raise rejected(path, "must be an http(s) URL of a PDF")
    if not fetches:
        raise rejected(path, "this service fetches no URLs; send the file itself as file_data")
    return _document({"type": "url", "url": url})


def _by_data(given: str, name: str, path: str, losses: Losses) -> Block:
    bare = given[:5].lower() != "data:" and (type_of(given) is not None or name.lower().endswith(_TEXT_NAMES))
    said, data = ("", given) if bare else payload(given, path)
    media = _real(said, data, path, losses)
    if media in _IMAGES:
        return _image(media, data)
    if media == _PDF:
        return _document({"type": "base64", "media_type": _PDF, "data": data})
    if is_text(media) or (media in UNSAID and name.lower().endswith(_TEXT_NAMES)):
        return _document({"type": "text", "media_type": "text/plain", "data": _words(data, path)})
    message = "must be a PDF, a text or an image; send office files and others as PDF or text"
    raise rejected(path, message, "unsupported_value")


def _real(given: str, data: str, path: str, losses: Losses) -> str:
    """Return what data is: by its first bytes where these tell, else what it says of itself."""
    said = usual_type(given)
    found, media = type_of(data), true_type(said, data)
    if media != said and said not in UNSAID:
        losses.hint(path, "says another type than its first bytes", f"Send it as {media}", instead=media)
    return media if found is None or is_text(media) else found


def _not_an_image(media: str) -> str:
    if media == _PDF:
        return "is a PDF; send it as a part of type file"
    if media in OFFICE:
        return "is no image but an archive or an office file"
    return "must be a JPEG, PNG, GIF or WebP image"


def _words(data: str, path: str) -> str:
    try:
        words = binascii.a2b_base64(data, strict_mode=True).decode("utf-8-sig")
    except ValueError:
        raise rejected(path, "must be UTF-8 text in base64") from None
    if not words or words.isspace():
        raise rejected(path, "holds no text; remove it")
    return words


def _image(media: str, data: str) -> Block:
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _document(source: Block) -> Block:
    return {"type": "document", "source": source}
