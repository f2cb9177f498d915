"""One batch on the toy lane without a gateway: write an input file, split it, make up results, collect, merge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Looking
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.collect import CollectFacts, CollectJob, collect
from proxy_plugin.lines.line_index import IndexWriter
from proxy_plugin.lines.manifest import ASSIGNMENT, CACHED_ROWS, REMARKS, Manifest, PartSpec
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.split import SplitJob, split
from proxy_plugin.lines.verdicts import Fate
from tests.toy.toy_lane import CAPABILITIES, CHAT, CLOTH
from tests.toy.toy_service import weave

TARGET = TargetSpec(
    slug="toy-prod",
    provider="toy",
    max_lines=CAPABILITIES.max_lines,
    max_bytes=CAPABILITIES.max_bytes,
    max_inputs=CAPABILITIES.max_inputs,
    max_line_bytes=CAPABILITIES.max_line_bytes,
)
JOB = "loom-000001"


def chat(custom_id: str, text: str = "hi", model: str = "wool-1", **more: Any) -> bytes:
    """Return one input line."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode()


def write_source(folder: Path, lines: Sequence[bytes]) -> tuple[Path, Path]:
    """Write an input file with a blank line after every third line; return it and its index."""
    source, index = folder / "input.jsonl", folder / "input.index"
    with source.open("wb") as stream, IndexWriter(index) as writer:
        number = 0
        for ordinal, line in enumerate(lines):
            writer.append(stream.tell(), len(line), number := number + 1)
            stream.write(line + b"\n")
            if ordinal % 3 == 2:
                number += 1
                stream.write(b"\n")
    return source, index


@dataclass
class ToyBatch:
    """The steps of one batch, each in a folder of its own below `folder`."""

    folder: Path
    lines: Sequence[bytes]
    targets: tuple[TargetSpec, ...] = (TARGET,)
    endpoint: str = CHAT
    rows: dict[int, str] = field(default_factory=dict)
    kept: Looking | None = None
    batch_id: str = "batch_1"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source, self.index = write_source(self.folder, self.lines)

    def split_job(self, name: str = "split") -> SplitJob:
        return SplitJob(
            batch_id=self.batch_id,
            source=str(self.source),
            index=str(self.index),
            folder=str(self.folder / name),
            source_sha256="0" * 64,
            endpoint=self.endpoint,
            targets=self.targets,
            kept=self.kept,
        )

    def split(self) -> Manifest:
        self.manifest = split(self.split_job())
        return self.manifest

    def document(self, part: PartSpec) -> bytes:
        return (self.folder / "split" / part.file).read_bytes()

    def woven(self, part: PartSpec) -> list[bytes]:
        """Return the result lines that the service makes of a part."""
        return [json.dumps(row).encode() for card in json.loads(self.document(part))["cards"] for row in weave(card)]

    def collect_job(self, part: PartSpec, results: Sequence[bytes], **more: Any) -> CollectJob:
        """Store `results` as the job's only result file."""
        folder = self.folder / f"results-{part.n}"
        folder.mkdir(exist_ok=True)
        (folder / CLOTH).write_bytes(b"".join(line + b"\n" for line in results))
        facts: dict[str, Any] = {
            "provider": part.provider,
            "endpoint": part.endpoint,
            "part": part.n,
            "mark": part.mark,
            "results": str(folder),
            "names": (CLOTH,),
            "assignment": str(self.folder / "split" / ASSIGNMENT),
            "folder": str(self.folder / f"rows-{part.n}"),
        }
        return CollectJob(**(facts | more))

    def collect(self, part: PartSpec, results: Sequence[bytes], **more: Any) -> CollectFacts:
        job = self.collect_job(part, results, **more)
        self.rows[part.n] = job.folder
        return collect(job)

    def fate(self, part: PartSpec, **more: Any) -> Fate:
        facts: dict[str, Any] = {
            "kind": "collected",
            "mark": part.mark,
            "provider": part.provider,
            "slug": part.slug,
            "model": part.model,
            "job": JOB,
            "attempt": 1,
        }
        return Fate(**(facts | more))

    def merge_job(self, fates: dict[int, Fate] | None = None, name: str = "merge") -> MergeJob:
        """Return the job; parts that `fates` does not name were collected."""
        return MergeJob(
            batch_id="batch_1",
            source=str(self.source),
            index=str(self.index),
            total=self.manifest.total,
            assignment=str(self.folder / "split" / ASSIGNMENT),
            rejected=str(self.folder / "split" / REMARKS),
            rows=self.rows,
            fates={part.n: self.fate(part) for part in self.manifest.parts} | (fates or {}),
            folder=str(self.folder / name),
            cached=str(self.folder / "split" / CACHED_ROWS) if self.manifest.cached else None,
            keys=str(self.folder / "split" / KEYS),
        )

    def merge(self, fates: dict[int, Fate] | None = None) -> MergeFacts:
        return merge(self.merge_job(fates))

    def merged(self, name: str) -> list[Any]:
        """Return the decoded lines of a file that `merge` wrote."""
        return [json.loads(line) for line in (self.folder / "merge" / name).read_bytes().splitlines()]


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below `folder` by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
