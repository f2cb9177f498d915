"""Splits of toy batches: accounts without limits, and what a split has written."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.manifest import ASSIGNMENT, REMARKS
from proxy_plugin.lines.row_store import StoredRow, rows
from tests.toy.toy_batch import TARGET, ToyBatch
from tests.toy.toy_lane import EMBEDDINGS

FREE = msgspec.structs.replace(TARGET, max_lines=None, max_bytes=None, max_inputs=None, max_line_bytes=None)


def account(slug: str, **facts: Any) -> TargetSpec:
    return msgspec.structs.replace(FREE, slug=slug, **facts)


def cards(batch: ToyBatch, n: int) -> list[dict[str, Any]]:
    return list(json.loads(batch.document(batch.manifest.parts[n]))["cards"])


def assigned(batch: ToyBatch) -> list[int]:
    raw = (batch.folder / "split" / ASSIGNMENT).read_bytes()
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]


def remarks(batch: ToyBatch, kind: int) -> list[StoredRow]:
    return [row for row in rows(batch.folder / "split" / REMARKS) if row.kind == kind]


def embedding(custom_id: str, inputs: int = 1) -> bytes:
    body = {"model": "wool-e", "input": ["x"] * inputs}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": EMBEDDINGS, "body": body}).encode()
