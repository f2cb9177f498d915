"""What an answer of Gemini's rests on, as OpenAI's annotations.

Shapes: `GroundingMetadata` and `CitationMetadata`, types of Google's google-genai 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy_plugin.providers.formats.shapes import count

Block = dict[str, Any]


def web_citations(candidate: Block, parts: list[Any]) -> list[Block]:
    """Return what web pages the answer rests on, with the places in `content` that they support."""
    if "groundingMetadata" not in candidate and "citationMetadata" not in candidate:
        return []
    texts = [_text(part.get("text")) if isinstance(part, dict) and not part.get("thought") else "" for part in parts]
    found = []
    for source, segment in (*_grounds(candidate.get("groundingMetadata")), *_cited(candidate.get("citationMetadata"))):
        if url := _text(source.get("uri")):
            part = count(segment, "partIndex")
            place = _place(texts, part, segment)
            cited = {**place, "url": url, "title": _text(source.get("title")) or url}
            found.append({"type": "url_citation", "url_citation": cited})
    return found


def _grounds(given: object) -> Iterator[tuple[Block, Block]]:
    """Yield each source of each supported segment."""
    fields = given if isinstance(given, dict) else {}
    chunks = _list(fields.get("groundingChunks"))
    for support in _list(fields.get("groundingSupports")):
        segment = support.get("segment") if isinstance(support, dict) else None
        if isinstance(segment, dict):
            for number in _list(support.get("groundingChunkIndices")):
                chunk = chunks[number] if isinstance(number, int) and 0 <= number < len(chunks) else None
                web = chunk.get("web") if isinstance(chunk, dict) else None
                if isinstance(web, dict):
                    yield web, segment


def _cited(given: object) -> Iterator[tuple[Block, Block]]:
    fields = given if isinstance(given, dict) else {}
    yield from ((each, each) for each in _list(fields.get("citations")) if isinstance(each, dict))


def _place(texts: list[str], part: int, segment: Block) -> Block:
    """Return start and end in characters of the whole content; Google counts UTF-8 bytes of one part."""
    before = sum(map(len, texts[:part]))
    data = texts[part].encode("utf-8", "surrogatepass") if part < len(texts) else b""
    start, end = (len(data[: count(segment, key)].decode("utf-8", "ignore")) for key in ("startIndex", "endIndex"))
    return {"start_index": before + start, "end_index": before + end}


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []
