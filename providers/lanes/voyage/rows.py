"""The pure half of Voyage's adapter: `{"custom_id", "body": {"input"}}` out, rows of both result files in.

The model and every other parameter belong to the job. What a line asks of its job is the line's partition, a JSON text:
lines that ask for different things never share one.
"""

from __future__ import annotations

import json
from typing import Any

from proxy_plugin.providers.base import LineIn, Native, Row, Target
from proxy_plugin.providers.formats.embeddings.common import Facts, whole_texts
from proxy_plugin.providers.formats.embeddings.voyage import join, read_part, to_voyage_embeddings
from proxy_plugin.providers.formats.openai.carried import record
from proxy_plugin.providers.formats.rows import read_row
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer

ENDPOINT = "/v1/embeddings"
BASE64 = "base64"  # stands in the name of results whose vectors are wanted so: nothing else of a line is at hand there


def request_line(line: LineIn, target: Target) -> Native:
    """Return the line of an input file. Raises LineRejected."""
    wanted = to_voyage_embeddings(
        line.body, model=target.model, drop_params=target.drop_params, strict_params=target.strict_params
    )
    body, dropped = whole_texts(wanted.line.bodies[0], wanted.line.dropped)
    data = record(line.native_id, body)
    asked = json.dumps({"params": wanted.params, BASE64: wanted.line.facts.base64}, sort_keys=True)
    return Native(data, inputs=wanted.line.facts.inputs, partition=asked, dropped=dropped)


def request_params(partition: str) -> dict[str, Any]:
    """Return the parameters of a job whose lines have this partition."""
    found: dict[str, Any] = json.loads(partition)["params"]
    return found


def results_suffix(partition: str) -> str:
    """Return what the names of results have at their end, so that a row is read as its line wants it."""
    return f"-{BASE64}" if json.loads(partition)[BASE64] else ""


def result_row(line: bytes, source: str) -> Row | None:
    """Read a row of the output or the error file; None for a blank line. Raises ValueError: corrupt."""

    def answer(body: bytes) -> Answer | ErrorAnswer:
        inputs = len(read_part(body).vectors)
        return join([body], Facts("", inputs, inputs, BASE64 in source))

    return read_row(line, answer)
