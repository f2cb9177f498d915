"""Input files: chat requests of about 1 KB with the spread of real ones, made on the way to the disk."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from proxy_plugin.providers.sandbox.stand_ins import every

LINE_BYTES = 1000  # on average
MEGABYTE = 10**6
MODELS = {each.provider: each.model for each in every()}
_FRAME = b'{"custom_id": "ticket-%08d", "method": "POST", "url": "/v1/chat/completions", "body": %b}\n'
_TEMPLATES = 997  # prime, so that no buffer size meets the same text again and again
_WORDS = (
    *("invoice", "contract", "délai", "customer", "Größe", "parcel", "refund", "the", "of", "and", "to", "in", "is"),
    *("that", "für", "with", "résumé", "please", "summarise", "classify", "answer", "order", "tracking", "number"),
    *("発送", "уведомление", "“quoted”", "🙂", "amount\ndate:", "€12.50", "reply\tsupport", '{"total": 3}'),
)
_SYSTEM = (
    "You sort the mail of a support desk. Answer with one JSON object: topic, urgency (1 to 5), language, summary."
)


def write_lines(
    path: Path, count: int, *, provider: str = "openai", line_bytes: int = LINE_BYTES, models: Sequence[str] = ()
) -> int:
    """Write `count` lines whose custom_ids are all different and return the bytes; memory does not grow with them.

    `line_bytes` is the average; the model is one of the provider's, or `models` take turns.
    """
    named = models or (MODELS[provider],)
    bodies = [chat_bodies(model, line_bytes) for model in named]
    with path.open("wb", buffering=MEGABYTE) as file:
        return sum(
            file.write(_FRAME % (number, bodies[number % len(named)][number % _TEMPLATES])) for number in range(count)
        )


def chat_bodies(model: str, line_bytes: int) -> list[bytes]:
    """Return bodies of very different lengths that make lines of `line_bytes` on average; every other one is ASCII."""
    chance = random.Random(7)
    weights = [chance.lognormvariate(0, 0.7) for _ in range(_TEMPLATES)]
    texts = (line_bytes - len(_FRAME % (0, _body(model, "", escape=True)))) * _TEMPLATES
    sizes = [int(weight * texts / sum(weights)) for weight in weights]
    return [_filled(model, chance, size, escape=n % 2 == 0) for n, size in enumerate(sizes)]


def _filled(model: str, chance: random.Random, size: int, *, escape: bool) -> bytes:
    """Return a body whose text takes about `size` bytes."""
    words: list[str] = []
    while size > 0:
        words.append(chance.choice(_WORDS))
        size -= len(json.dumps(words[-1], ensure_ascii=escape).encode()) - 1  # one of the quotes stands for the space
    return _body(model, " ".join(words), escape=escape)


def _body(model: str, text: str, *, escape: bool) -> bytes:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 300}
    return json.dumps(body, ensure_ascii=escape).encode()
