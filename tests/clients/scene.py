"""What a client is told: where the gateway is, who it is, and what must come out. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import answered

ENDS = {"completed", "failed", "expired", "cancelled"}
PATIENCE = 60.0  # seconds until a batch has to be where a check waits for it


async def until(retrieve: Callable[[], Awaitable[Any]], statuses: Iterable[str]) -> Any:
    """Return the batch that `retrieve` gives when it has one of these statuses."""
    wanted = set(statuses)

    async def reached() -> Any:
        batch = await retrieve()
        return batch if getattr(batch.status, "value", batch.status) in wanted else None

    return await answered(reached, f"a status of {wanted}", PATIENCE)


@dataclass(frozen=True)
class Scene:
    """The facts of one client; every client has a workspace of its own, so that its lists hold only what it made.

    `lane` and `slow` are virtual keys: batches of the first end at once, those of the second run until cancelled.
    `answers` are the texts that the output rows must carry, in input order; `failing` maps other ids to the status
    in their error row. `done` holds the ids of a completed batch (`batch`, `input`, `output`, `error`) and `stranger`
    the same of another workspace.
    """

    client: str
    url: str
    key: str
    lane: str
    slow: str
    model: str
    input: str
    broken: str
    answers: dict[str, str]
    failing: dict[str, int]
    done: dict[str, str]
    stranger: dict[str, str]

    @classmethod
    def load(cls, path: str) -> Scene:
        """Read the scene that the runner wrote."""
        return cls(**json.loads(Path(path).read_text()))

    @property
    def path(self) -> Path:
        """The input file."""
        return Path(self.input)

    @property
    def content(self) -> bytes:
        """The input file's bytes."""
        return self.path.read_bytes()

    @property
    def total(self) -> int:
        """How many lines the input file has."""
        return len(self.answers) + len(self.failing)

    def order(self, **more: Any) -> dict[str, Any]:
        """Return the body of a create."""
        return {"endpoint": "/v1/chat/completions", "completion_window": "24h"} | more

    def check_output(self, content: bytes) -> None:
        """Every answered line once, in input order, with the text that the model gave to its body."""
        rows = rows_of(content)
        assert [row["custom_id"] for row in rows] == list(self.answers)
        for row in rows:
            assert row["response"]["status_code"] == 200
            text = row["response"]["body"]["choices"][0]["message"]["content"]
            assert text == self.answers[row["custom_id"]], row["custom_id"]

    def check_error(self, content: bytes) -> None:
        """Every failed line once, with the status that the model gave."""
        rows = rows_of(content)
        assert {row["custom_id"]: row["response"]["status_code"] for row in rows} == self.failing
        assert len(rows) == len(self.failing)

    def check_all(self, content: bytes) -> None:
        """What `/output` gives of a finished batch: all rows in input order."""
        rows = rows_of(content)
        assert len(rows) == self.total
        good = [row for row in rows if row["custom_id"] in self.answers]
        bad = [row for row in rows if row["custom_id"] in self.failing]
        self.check_output(as_jsonl(good))
        self.check_error(as_jsonl(bad))
        inputs = [row["custom_id"] for row in rows_of(self.content)]
        assert [row["custom_id"] for row in rows] == inputs


def rows_of(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in content.split(b"\n") if line]


def as_jsonl(rows: Sequence[object]) -> bytes:
    """Return rows as a JSONL file."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
