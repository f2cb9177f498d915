"""Generated files, lanes and ends of parts, for promise 1."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.toy.toy_batch import chat

IDS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(["../../etc/passwd", "a b  c", " lead", "tab\there", '"quoted"', "back\\slash", "nul\0", "%2e%2e"]),
    st.text(alphabet="é🙂漢x-_/ ", min_size=200, max_size=200),
    st.characters(categories=["Cs"]).map(lambda lone: f"lone {lone}"),
)
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # each case syncs some hundred files
FATES: list[dict[str, Any]] = [
    {"kind": "collected"},
    {"kind": "collected", "code": "batch_cancelled"},
    {"kind": "refused", "code": "no_wool", "message": "none left", "status": 400},
    {"kind": "refused", "code": "no_wool", "message": "none left"},
    {"kind": "dropped", "code": "batch_expired"},
]
NOISE = [b"", b"{", b'["torn', b"\xff", b'["tag", "unheard of", 1]']


@dataclass(frozen=True)
class Line:
    """One generated line: its id and how that is spelled, whether the lane can express it, the rows it gets."""

    custom_id: str
    ascii: bool
    expressible: bool
    long: bool
    model: str
    rows: tuple[str, ...]

    def encoded(self, ordinal: int) -> bytes:
        more: dict[str, Any] = {"max_tokens": 5000} if self.long else {}
        line = chat("ID", f"question {ordinal}", self.model, **(more if self.expressible else more | {"seed": 1}))
        spelled = json.dumps(self.custom_id, ensure_ascii=self.ascii or not _is_text(self.custom_id))
        return line.replace(b'"ID"', spelled.encode())


@dataclass(frozen=True)
class Case:
    """One file, the lane's limits, what becomes of the parts in turn, and a seed for the provider's disorder."""

    lines: tuple[Line, ...]
    max_lines: int
    provider: str
    fates: tuple[dict[str, Any], ...]
    noise: tuple[bytes, ...]
    foreign: int
    seed: int


LINES = st.builds(
    Line,
    custom_id=IDS,
    ascii=st.booleans(),
    expressible=st.sampled_from([True, True, True, False]),
    long=st.booleans(),
    model=st.sampled_from(["wool-1", "wool-2", "silk"]),
    rows=st.lists(st.sampled_from(["woven", "woven", "torn", "late"]), max_size=3).map(tuple),
)
CASES = st.builds(
    Case,
    lines=st.lists(LINES, min_size=1, max_size=25, unique_by=lambda line: line.custom_id).map(tuple),
    max_lines=st.integers(1, 7),
    provider=st.sampled_from(["toy", "toy-single"]),
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=4).map(tuple),
    noise=st.lists(st.sampled_from(NOISE), max_size=3).map(tuple),
    foreign=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)


def _is_text(custom_id: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in custom_id)
