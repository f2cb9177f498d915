"""Images, files and audio of a conversation as Gemini's `inlineData` and `fileData` parts.

Shapes: types of Google's google-genai 3.6. `fileData`: https addresses by both services, gs:// by Vertex alone ("File
input methods" of the Gemini API, October 2026; Vertex's inference reference). What is refused: "MIME type must be
image/png, image/jpeg, image/webp, image/heic, or image/heif" and "Unsupported MIME type" for SVG, office files and
archives (400 of the Gemini API, public issue threads; Vertex documents the same five). Resolution: "Media resolution",
October 2026: by part since Gemini 3, else one for the whole request. Results of functions: "Multimodal function
responses", 2026.
"""

from __future__ import annotations

import re
from typing import Any, Protocol
from urllib.parse import urlsplit

from proxy_plugin.providers.formats.file_types import UNSAID, true_type, usual_type
from proxy_plugin.providers.formats.gemini.models import ModelFacts
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.turns import Block, is_remote, payload, read_file, read_image, read_text

_FORMAT = frozenset({"format"})
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_PDF = "application/pdf"
_BARE_PDF = "JVBERi"  # base64 of %PDF-
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg",
          "flac": "audio/flac"}  # fmt: skip
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_NEVER = re.compile(
    r"application/(?:vnd\.(?:openxml|ms-|oasis)|msword|zip|x-zip|gzip|x-tar|x-ole|octet-stream|epub|rtf)|text/rtf"
)
_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", _PDF, "text/plain"})
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_BY_SUFFIX = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "heic": "image/heic",
    "heif": "image/heif", "gif": "image/gif", "pdf": _PDF, "txt": "text/plain", "md": "text/md", "html": "text/html",
    "css": "text/css", "csv": "text/csv", "xml": "text/xml", "json": "application/json", "mp4": "video/mp4",
    "mpeg": "video/mpeg", "mov": "video/mov", "webm": "video/webm", "svg": "image/svg+xml", **_AUDIO,
}  # fmt: skip


class Holder(Protocol):
    """What a conversation hands to the readers of its files."""

    losses: Losses
    facts: ModelFacts
    vertex: bool
    resolutions: dict[str, str | None]


def image_part(talk: Holder, part: Block, path: str) -> Block:
    """Translate an image, whose detail becomes its resolution."""
    url, detail = read_image(part, path, talk.losses, inner=_FORMAT)
    image = part["image_url"]
    media = _format(image, f"{path}.image_url") if isinstance(image, dict) else None
    return _resolved(talk, _media(talk, url, media, f"{path}.image_url.url"), detail, path)


def file_part(talk: Holder, part: Block, path: str) -> Block:
    """Translate a file: its data, or a file_id or file_url that is an address. Its name tells the type alone."""
    file = read_file(part, path, talk.losses, inner=_FORMAT | {"file_url"})
    media, name = _format(file, f"{path}.file"), file.get("filename")
    if not isinstance(name, str | None):
        raise rejected(f"{path}.file.filename", "must be a text", "invalid_type")
    media = media or _by_suffix(name or "")
    for key in ("file_id", "file_url"):
        if file.get(key) is not None:
            at = f"{path}.file.{key}"
            if file.get("file_data") is not None:
                raise rejected(at, "cannot stand beside file_data; send one of them")
            return _resolved(talk, _remote(talk, read_text(file[key], at), media, at), None, path)
    at = f"{path}.file.file_data"
    data = read_text(file.get("file_data"), at)
    if data[:5].lower() == "data:":
        return _resolved(talk, _media(talk, data, media, at), None, path)
    media = _PDF if data.startswith(_BARE_PDF) else media
    if media is None or not data:
        raise rejected(at, "must be a data URI, or base64 data with a filename that tells its type")
    return _resolved(talk, _inline(talk, media, data, at), None, path)


def audio_part(talk: Holder, part: Block, path: str) -> Block:
    """Translate audio."""
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
    return _inline(talk, _AUDIO[kind], data, f"{path}.input_audio.data")


def result_image(talk: Holder, part: Block, path: str) -> Block:
    """Translate an image in the result of a function, which has no resolution of its own."""
    url, detail = read_image(part, path, talk.losses, inner=_FORMAT)
    if detail not in (None, "auto"):
        talk.losses.hint(f"{path}.image_url.detail", "a function's result has no resolution", "Send auto")
    image = part["image_url"]
    media = _format(image, f"{path}.image_url") if isinstance(image, dict) else None
    return _of_result(talk, _media(talk, url, media, f"{path}.image_url.url"), path)


def result_file(talk: Holder, part: Block, path: str) -> Block:
    """Translate a document in the result of a function."""
    found = file_part(talk, part, path)
    talk.resolutions.pop(path, None)
    return _of_result(talk, found, path)


def own_media(talk: Holder, message: Block, path: str) -> list[Block]:
    """Return the images and the speech of an earlier answer of ours, for models that have made them."""
    parts: list[Block] = []
    images: Any = message.get("images")
    for number, image in enumerate(images if isinstance(images, list) else ()):
        inner = image.get("image_url") if isinstance(image, dict) else None
        url = inner.get("url") if isinstance(inner, dict) else None
        if isinstance(url, str) and talk.facts.paints:
            parts.append(_media(talk, url, None, f"{path}.images[{number}].image_url.url"))
        else:
            talk.losses.add(f"{path}.images", "this model makes no images", "Remove it")
    audio = message.get("audio")
    if audio is None:
        return parts
    data, media = (audio.get("data"), audio.get("mime_type")) if isinstance(audio, dict) else (None, None)
    if isinstance(data, str) and data and isinstance(media, str) and talk.facts.paints:
        return [*parts, {"inlineData": {"mimeType": media, "data": data}}]
    words = audio.get("transcript") if isinstance(audio, dict) else None
    if not parts and not message.get("content") and not (isinstance(words, str) and words):
        raise rejected(f"{path}.audio", "names audio that Gemini does not have; send the text", "unsupported_parameter")
    talk.losses.hint(f"{path}.audio", "names audio that Gemini does not have", "Remove it")
    return parts if message.get("content") else [*parts, {"text": words}]


def _resolved(talk: Holder, found: Block, detail: object, path: str) -> Block:
    """Return a part with its resolution; a model that has one for all of them gets it with the request."""
    resolution = _RESOLUTIONS.get(detail) if isinstance(detail, str) else None
    if detail not in (None, "auto") and resolution is None:
        talk.losses.hint(f"{path}.image_url.detail", "Gemini has low and high", "Send auto, low or high")
    if not talk.facts.multimedia:
        talk.resolutions[path] = resolution
    elif resolution is not None:
        found["mediaResolution"] = {"level": resolution}
    return found


def _of_result(talk: Holder, part: Block, path: str) -> Block:
    """Return what may stand in the result of a function."""
    if not talk.facts.multimedia:
        reason = "this model reads texts only in the result of a function; send the file in a message of the user's"
        raise rejected(path, reason, "unsupported_parameter")
    if "fileData" in part and not talk.vertex:
        reason = "the Gemini API fetches nothing for the result of a function; send a data URI, or set fetch_media in"
        raise rejected(path, f"{reason} the route", "unsupported_value")
    (held,) = part.values()
    media = held.get("mimeType")
    if media is not None and media not in _RESULTS:
        raise rejected(path, f"must be one of {', '.join(sorted(_RESULTS))} in the result of a function")
    return part


def _media(talk: Holder, uri: str, media: str | None, path: str) -> Block:
    """Return the part of a data URI, or of an address that the service itself reads."""
    if is_remote(uri) or uri[:5] == "gs://":
        return _remote(talk, uri, media, path)
    said, data = payload(uri, path)
    return _inline(talk, media if media and said in UNSAID else said, data, path)


def _inline(talk: Holder, given: str, data: str, path: str) -> Block:
    """Return data under the type that its first bytes show: the service looks at them."""
    said = usual_type(given)
    media = true_type(said, data)
    if media != said:
        talk.losses.hint(path, f"its first bytes are {media}", "Say so in the data URI", instead=media)
    _check(media, path)
    return {"inlineData": {"mimeType": media, "data": data}}


def _check(media: str, path: str) -> None:
    """Refuse what the service refuses."""
    if media.startswith("image/") and media not in _IMAGES:
        raise rejected(path, "must be a PNG, JPEG, WebP, HEIC or HEIF image", "unsupported_value")
    if _NEVER.match(media):
        raise rejected(path, "is no type of file that Gemini reads; send a PDF, or its text", "unsupported_value")


def _remote(talk: Holder, uri: str, media: str | None, path: str) -> Block:
    if uri[:5] == "gs://" and not talk.vertex:
        raise rejected(
            path, "the Gemini API reads no gs:// address; send an https URL or the data", "unsupported_value"
        )
    if uri[:5] != "gs://" and not is_remote(uri):
        message = "names a file that Gemini cannot read; send an address of it or the data itself"
        raise rejected(path, message, "unsupported_parameter")
    media = media or _by_suffix(_path_of(uri))
    if media is not None:
        _check(media, path)
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
