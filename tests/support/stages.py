"""One batch without a gateway: the work of its worker processes, stage by stage, in this process.

What a provider answers is made by the stand-ins' own functions, with ids, seeds and times that are given: the same
file, targets and batch id have the same bytes in every file of it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Keeping, Looking
from proxy_plugin.lines.body_changes import Growth
from proxy_plugin.lines.choose import TargetSpec, target_spec
from proxy_plugin.lines.collect import CollectFacts, CollectJob, collect
from proxy_plugin.lines.manifest import ASSIGNMENT, CACHED_ROWS, REMARKS, Manifest, PartSpec
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.scan import Facts, ScanLimits, scan
from proxy_plugin.lines.split import SplitJob, split
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.providers.sandbox.anthropic import lines as messages
from proxy_plugin.providers.sandbox.anthropic.params import Rules as MessageRules
from proxy_plugin.providers.sandbox.bedrock.lines import Records
from proxy_plugin.providers.sandbox.kit import lines as kit
from proxy_plugin.providers.sandbox.openai import lines as openai
from proxy_plugin.providers.sandbox.openai.validation import Assignment
from proxy_plugin.providers.sandbox.vertex_ai.lines import Lines as VertexLines
from proxy_plugin.routing.route import EVERYTHING, Rescue, Rules, StoredTarget

CHAT = "/v1/chat/completions"
CREATED = 1_780_000_000  # Unix seconds, of every answer
LIMITS = ScanLimits(16 * 2**20, 10_000_000)
WHOLE = 10**9  # lines of a job that ran to its end


def target(slug: str, provider: str, **more: Any) -> TargetSpec:
    """Return an account as a split needs it, with the limits of its lane but for those that are given."""
    return msgspec.structs.replace(target_spec(StoredTarget(slug, provider)), **more)


@dataclass
class Stages:
    """Each stage has a folder of its own below `folder`; `source` is the file that was uploaded."""

    folder: Path
    source: Path
    targets: Sequence[TargetSpec]
    batch_id: str = "batch_recorded"
    endpoint: str = CHAT
    rules: Rules = EVERYTHING
    rescue: Rescue | None = None
    growth: Growth | None = None
    kept: Looking | None = None
    keeping: Keeping | None = None
    rows: dict[int, str] = field(default_factory=dict)
    assigned: dict[int, Path] = field(default_factory=dict)  # of parts that a rescue made: their assignment
    facts: Facts = field(init=False)
    manifest: Manifest = field(init=False)

    def scan(self) -> Facts:
        """Read the file once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.facts = scan(str(self.source), str(self.folder / "index"), str(self.folder / "scratch"), LIMITS)
        return self.facts

    def split_job(self) -> SplitJob:
        return SplitJob(
            self.batch_id,
            str(self.source),
            str(self.folder / "index"),
            str(self.folder / "split"),
            self.facts.sha256,
            self.endpoint,
            tuple(self.targets),
            rules=self.rules,
            growth=self.growth,
            kept=self.kept,
            rescue=self.rescue,
        )

    def split(self) -> Manifest:
        """Write the documents of the file's parts."""
        self.manifest = split(self.split_job())
        return self.manifest

    def assignment(self, part: PartSpec) -> Path:
        """Return the file that tells which lines a part has. It is beside the folder of the documents."""
        return self.assigned.get(part.n, self.folder / "split" / ASSIGNMENT)

    def document(self, part: PartSpec) -> Path:
        return self.assignment(part).parent / part.file

    def answer(self, part: PartSpec, *, done: int = WHOLE, why: str = "batch_cancelled") -> tuple[str, ...]:
        """Let the provider's stand-in answer the first `done` lines of a part; return the names of its result files."""
        results = self.folder / f"results-{part.n}"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        return ANSWERS[part.provider](self, part, results, min(done, part.requests or part.lines), why)

    def collect_job(self, part: PartSpec, names: Sequence[str], **more: Any) -> CollectJob:
        facts: dict[str, Any] = {
            "provider": part.provider,
            "endpoint": part.endpoint,
            "part": part.n,
            "mark": part.mark,
            "results": str(self.folder / f"results-{part.n}"),
            "names": tuple(names),
            "assignment": str(self.assignment(part)),
            "folder": str(self.folder / f"rows-{part.n}"),
            "keeping": self.keeping,
        }
        return CollectJob(**facts | more)

    def collect(self, part: PartSpec, names: Sequence[str], **more: Any) -> CollectFacts:
        """Make rows of a part's results."""
        job = self.collect_job(part, names, **more)
        self.rows[part.n] = job.folder
        return collect(job)

    def fate(self, part: PartSpec, **more: Any) -> Fate:
        facts: dict[str, Any] = {
            "kind": "collected",
            "mark": part.mark,
            "provider": part.provider,
            "slug": part.slug,
            "model": part.model,
            "job": f"job-{part.n}",
            "attempt": 1,
            "way": part.way,
        }
        return Fate(**facts | more)

    def merge_job(self, fates: Mapping[int, Fate] | None = None, **more: Any) -> MergeJob:
        """Return the job; parts that `fates` does not name were collected."""
        cut = self.folder / "split"
        facts: dict[str, Any] = {
            "batch_id": self.batch_id,
            "source": str(self.source),
            "index": str(self.folder / "index"),
            "total": self.manifest.total,
            "assignment": str(cut / ASSIGNMENT),
            "rejected": str(cut / REMARKS),
            "rows": self.rows,
            "fates": {part.n: self.fate(part) for part in self.manifest.parts} | dict(fates or {}),
            "folder": str(self.folder / "merge"),
            "cached": str(cut / CACHED_ROWS) if self.manifest.cached else None,
            "keys": str(cut / KEYS),
        }
        return MergeJob(**facts | more)

    def merge(self, fates: Mapping[int, Fate] | None = None, **more: Any) -> MergeFacts:
        """Write the result files."""
        return merge(self.merge_job(fates, **more))


# What stand-ins answer.


def _identity(stages: Stages, part: PartSpec) -> str:
    return hashlib.sha256(f"{stages.batch_id}/{part.n}".encode()).hexdigest()[:16]


def _openai(stages: Stages, part: PartSpec, results: Path, done: int, why: str) -> tuple[str, ...]:
    task = Assignment(
        source=stages.document(part),
        folder=results / "work",
        endpoint=part.endpoint,
        url=part.endpoint,
        identity=_identity(stages, part),
        created=CREATED,
        seed=part.n,
        max_lines=WHOLE,
        max_embedding_inputs=WHOLE,
        unknown_models=frozenset(),
        style="digest",
    )
    found = openai.examine(task)
    if found.problem is not None:
        raise ValueError(f"the stand-in refuses the document: {found.problem}")
    reason = openai.CANCELLED if why == "batch_cancelled" else openai.EXPIRED
    openai.assemble(task.folder, done, 0, reason, results / "output", results / "error")
    shutil.rmtree(task.folder)
    return tuple(name for name in ("output", "error") if (results / name).exists())


def _messages(stages: Stages, part: PartSpec, results: Path, done: int, why: str) -> tuple[str, ...]:
    work = results / "work"
    work.mkdir()
    shutil.copyfile(stages.document(part), messages.body_path(work))
    if (problem := messages.examine(work, WHOLE).problem) is not None:
        raise ValueError(f"the stand-in refuses the document: {problem}")
    messages.answer_all(messages.Assignment(work, _identity(stages, part), part.n, "digest", MessageRules()))
    messages.assemble(work, done, messages.CANCELED if why == "batch_cancelled" else messages.EXPIRED)
    name = f"results-{CREATED}.jsonl"
    messages.results_path(work).replace(results / name)
    shutil.rmtree(work)
    return (name,)


def _vertex(stages: Stages, part: PartSpec, results: Path, done: int, why: str) -> tuple[str, ...]:
    publisher = "anthropic" if str(part.model).startswith("claude") else "google"
    order = {"model": f"publishers/{publisher}/models/{part.model}"}
    name = f"results-{CREATED}-{part.partition if part.partition == 'base64' else ''}-{'0' * 12}-{part.model}.jsonl"
    return _kit(stages, part, results / name, VertexLines(), order, done)


def _bedrock(stages: Stages, part: PartSpec, results: Path, done: int, why: str) -> tuple[str, ...]:
    order = {"modelId": part.model, "modelInvocationType": part.partition.partition("-")[0]}
    name = f"0~{part.partition}~{quote(part.model or '', safe='')}~{CREATED}.jsonl"
    return _kit(stages, part, results / name, Records(), order, done)


def _kit(
    stages: Stages, part: PartSpec, file: Path, form: kit.Form, order: Mapping[str, Any], done: int
) -> tuple[str, ...]:
    """Lines that did not run have no row on these wires."""
    task = kit.Task(stages.document(part), form, order, _identity(stages, part), CREATED, part.n, "digest")
    rows, problem = kit.run(task)
    if problem is not None:
        raise ValueError(f"the stand-in refuses the document: {problem}")
    with file.open("wb", buffering=2**20) as written:
        for row in rows[:done]:
            lines = [*[row.row] * (row.copies if row.row else 0), *([row.foreign] if row.foreign else [])]
            written.writelines(line + b"\n" for line in lines)
    return (file.name,)


ANSWERS: dict[str, Callable[[Stages, PartSpec, Path, int, str], tuple[str, ...]]] = {
    "openai": _openai,
    "anthropic": _messages,
    "vertex-ai": _vertex,
    "bedrock": _bedrock,
}
