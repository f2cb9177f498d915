"""Lines for every lane there is, and the answers that they must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.openai.bodies import DIMENSIONS, vector
from proxy_plugin.providers.sandbox.stand_ins import StandIn, copies, every

LANES: Sequence[StandIn] = (*every(), *copies().values())
RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
Line = dict[str, Any]


def line_for(n: int, lane: StandIn, text: str) -> Line:
    """Return the n-th line of a file, which names the account and a model of a lane."""
    said: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if lane.endpoint == RESPONSES:
        said = {"input": [{"role": "user", "content": text}]}
    elif lane.endpoint == EMBEDDINGS:
        said = {"input": text}
    model = lane.models[n // len(LANES) % 2]  # half of a lane's lines each
    body = {"model": f"@{lane.provider}/{model}", **said}
    return {"custom_id": f"é/{n}", "method": "POST", "url": lane.endpoint, "body": body}


def said_in(row: Mapping[str, Any], endpoint: str) -> object:
    """Return the answer in a row: its text, or its vector."""
    assert (row["error"], row["response"]["status_code"]) == (None, 200)
    body = row["response"]["body"]
    if endpoint == EMBEDDINGS:
        return body["data"][0]["embedding"]
    if endpoint == RESPONSES:
        return "".join(part["text"] for item in body["output"] for part in item.get("content", ()))
    return body["choices"][0]["message"]["content"]


def due_for(line: Line) -> object:
    """Return the answer that a line must have."""
    if line["url"] == EMBEDDINGS:
        return vector(line["body"]["input"], DIMENSIONS)
    return expected_text(line["url"], line["body"], "echo")
