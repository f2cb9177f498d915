"""Lines of batch files for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def chat_lines(
    count: int,
    *,
    tag: str = "",
    marker: Mapping[int, str] | None = None,
    model: str = "gpt-4.1-nano",
    url: str = "/v1/chat/completions",
) -> list[dict[str, Any]]:
    """Return chat lines whose ids and texts are all different; `marker` puts a sandbox marker into some.

    With the `url` of embeddings the texts are embedded.
    """
    texts = [f"Say {n} {tag} {(marker or {}).get(n, '')}" for n in range(count)]
    return [
        {"custom_id": f"line/{n} {tag}é🙂", "method": "POST", "url": url, "body": {"model": model, **_said(url, text)}}
        for n, text in enumerate(texts)
    ]


def _said(url: str, text: str) -> dict[str, Any]:
    return {"input": text} if url == "/v1/embeddings" else {"messages": [{"role": "user", "content": text}]}


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return lines as the bytes of an input file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
