"""Lines of batch files for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def chat_lines(
    count: int, *, tag: str = "", marker: Mapping[int, str] | None = None, model: str = "gpt-4.1-nano"
) -> list[dict[str, Any]]:
    """Return chat lines whose ids and texts are all different; `marker` puts a sandbox marker into some."""
    return [
        {
            "custom_id": f"line/{n} {tag}é🙂",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": model,
                "messages": [{"role": "user", "content": f"Say {n} {tag} {(marker or {}).get(n, '')}"}],
            },
        }
        for n in range(count)
    ]


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return lines as the bytes of an input file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
