"""All lines of the corpus, in one order.

How often a shape and an option stand there was set so that the translators of 2026-11-28, which refused hints, take of
the chat bodies what they took of 684 recorded ones, within four parts of a hundred: 69, 72, 66 and 58 % for Claude
Sonnet 4.6, Gemini 3.8 Flash, Claude Opus 5 on Bedrock and Nova Pro; recorded were 71, 69, 67 and 54 %.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.oracles.corpus.agents import AGENTS, RESPONSES
from tests.oracles.corpus.chats import CHATS
from tests.oracles.corpus.words import Json

SEED = 20261129
CHAT, ANSWERS = "/v1/chat/completions", "/v1/responses"


class Line(NamedTuple):
    """One body without a model. `shape` says what kind of work it is."""

    shape: str
    endpoint: str
    body: Json


def lines() -> Iterator[Line]:
    """Yield the corpus, no body twice; each shape has dice of its own, so that a new shape changes no other."""
    seen = set()
    for endpoint, shapes in ((CHAT, CHATS | AGENTS), (ANSWERS, RESPONSES)):
        for shape, (make, count) in shapes.items():
            dice = random.Random(f"{SEED} {shape}")
            for _ in range(count):
                text = json.dumps(make(dice))
                if text not in seen:
                    seen.add(text)
                    yield Line(shape, endpoint, json.loads(text))
