"""The recorded batches: each with its file, its accounts and its story, and what all of it is to be, byte for byte.

`recorded.json` has the digests. A story is given what makes its `Stages`: whoever does a stage in another way, in
ranges say, brings a kind of them of its own, which must come to the same bytes. Where a change of the bytes is meant (a
price, a sentence), they are recorded anew, and the commit says which and why:

    python -m tests.unit.recorded.batches
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, structs

from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Keeping, Looking
from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.lines.body_changes import Growth
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.manifest import ASSIGNMENT, MANIFEST, REMARKS, PartSpec
from proxy_plugin.lines.merge import RescueFiles, merge_so_far
from proxy_plugin.lines.onward.rescue import Parent, RescueJob, rescue
from proxy_plugin.lines.split import split
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.routing.route import ByLine, Case, Changes, Fallback, Name, Names, Option, Rules, Share, To, When
from tests.support.stages import WHOLE, Stages, target
from tests.unit.recorded.lines import (
    EMBEDDINGS,
    RESPONSES,
    embeddings,
    file_of,
    pictures,
    plain,
    schemas,
    text,
    tools,
)

RECORDED = Path(__file__).with_name("recorded.json")
GPT, CLAUDE, GEMINI, NOVA = "gpt-4.1-nano", "claude-haiku-4-5", "gemini-2.5-flash", "amazon.nova-pro-v1:0"
BEDROCK_CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
ODD = {
    3: "error=429",
    7: "missing",
    11: "duplicate",
    13: "foreign",
    17: "expire",
    19: "timeout",
    23: "refusal",
    29: "error=0",
}
KINDS = ("flash", "pro", "flash-lite")
NOW, DAY = 1_780_000_000.0, 86_400.0
Digests = dict[str, str]
Make = Callable[..., Stages]
Story = Callable[[Path, Make], Digests]


def sha256(*texts: bytes) -> str:
    """Return the digest of some texts, told apart by their lengths."""
    found = hashlib.sha256()
    for each in texts:
        found.update(b"%d:%b" % (len(each), each))
    return found.hexdigest()


def told(facts: object) -> str:
    """Return the digest of what a stage says of its work."""
    return sha256(msgspec.json.encode(msgspec.to_builtins(facts, str_keys=True), order="sorted"))


class Batch:
    """One batch on its way; `found` has the digest of everything so far."""

    def __init__(self, folder: Path, make: Make, content: bytes, *targets: TargetSpec, **more: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "input.jsonl").write_bytes(content)
        self.stages = make(folder, folder / "input.jsonl", targets, **more)
        self.found: Digests = {"scan": told(self.stages.scan())}
        self.fates: dict[int, Fate] = {}
        self.results, self.collected = list[bytes](), list[str]()

    def split(self) -> Sequence[PartSpec]:
        """Split the file and note what was written."""
        parts, home = self.stages.split().parts, self.stages.folder / "split"
        self.found["manifest"] = sha256((home / MANIFEST).read_bytes())
        self.found["assignment"] = sha256((home / ASSIGNMENT).read_bytes())
        self.found["parts"] = sha256(*((home / part.file).read_bytes() for part in parts))
        return parts

    def answer(self, part: PartSpec, *, done: int = WHOLE, why: str = "batch_cancelled", **more: Any) -> None:
        """Let a part's job end, and collect its rows."""
        names = self.stages.answer(part, done=done, why=why)
        folder = self.stages.folder / f"results-{part.n}"
        self.results += [(folder / name).read_bytes() for name in names]
        self.collected.append(told(self.stages.collect(part, names, **more)))
        self.fates[part.n] = self.stages.fate(part)

    def end(self, part: PartSpec, **facts: Any) -> None:
        """Say how a part ended."""
        self.fates[part.n] = self.stages.fate(part, **facts)

    def merge(self, **more: Any) -> Digests:
        """Merge, and return all digests."""
        self.found["results"] = sha256(*self.results)
        self.found["collected"] = sha256("".join(self.collected).encode())
        facts = self.stages.merge(self.fates, **more)
        self.found["merged"] = told(structs.replace(facts, models=tuple(sorted(facts.models))))
        for file in (facts.output, facts.error, facts.ledger):
            content = (self.stages.folder / "merge" / file.name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256
            self.found[file.name] = sha256(content)
        return self.found


def whole(content: bytes, *targets: TargetSpec, **more: Any) -> Story:
    """Return the story of a batch all of whose jobs run to their ends."""

    def story(folder: Path, make: Make) -> Digests:
        batch = Batch(folder, make, content, *targets, **more)
        for part in batch.split():
            batch.answer(part)
        return batch.merge()

    return story


def _openai(**more: Any) -> TargetSpec:
    return target("lane", "openai", **more)


def _names(*slugs: str) -> Names:
    return Names(slugs={slug: n for n, slug in enumerate(slugs)})


def _mixed() -> bytes:
    """Return lines of several endpoints, and some that their accounts cannot have."""
    bodies = plain(12, GPT) + embeddings(6, "text-embedding-3-small", url=EMBEDDINGS)
    bodies += [{"model": GPT, "input": text(n), "url": RESPONSES} for n in range(6)]
    return file_of(bodies + [{"model": "gpt-4.1-nano", "prompt": "Once", "url": "/v1/completions"}] * 2)


def _routed() -> bytes:
    models = (GPT, f"@north/{CLAUDE}", f"@east/{GEMINI}", "house-model", f"@nobody/{GPT}")
    return file_of(body | {"model": models[n % 5], "max_tokens": 20 * n + 1} for n, body in enumerate(plain(60, GPT)))


_ROUTED = Rules(
    rule=When((Case({"params.max_tokens": {"$gt": 700}}, 1),), (ByLine(), Share((2.0, 1.0), (To(0), To(1)))), 0),
    names=Names(
        slugs={"lane": 0, "north": 1, "east": 2},
        models={"house-model": Name((Option(0, "gpt-4.1-mini"), Option(1, CLAUDE, 2.0))), GPT: Name((Option(0, GPT),))},
    ),
    metadata={"team": "blue"},
)
_CHANGED = Changes(
    override={"temperature": Raw(b"0.25"), "seed": Raw(b"12345678901234567890")},
    default={"max_tokens": Raw(b"77"), "user": Raw(b'"somebody"')},
    remove=("stop", "messages.0.name"),
)


def _refused_lines() -> bytes:
    bodies = plain(30, CLAUDE)
    for n in range(0, 30, 6):
        bodies[n] |= {"logit_bias": {"50256": -100}}
    bodies[4] |= {"n": 2}
    bodies[8] |= {"model": "gpt-4o"}
    bodies[9] |= {"messages": []}
    bodies[10] |= {"max_tokens": 0}
    return file_of(bodies)


def stopped(folder: Path, make: Make) -> Digests:
    """A batch that is cancelled: a job half done, one whose rows left out some, one dropped, one that expired."""
    batch = Batch(folder, make, file_of(plain(40, GPT)), _openai(max_lines=10))
    first, second, third, fourth = batch.split()
    batch.answer(first, done=6, cancelled_as="batch_expired")
    batch.answer(second, done=4, why="batch_expired")
    batch.end(third, kind="dropped", code="batch_cancelled", job=None, attempt=0)
    batch.answer(fourth, done=7)
    batch.end(fourth, code="batch_cancelled")
    return batch.merge()


def refused(folder: Path, make: Make) -> Digests:
    """Jobs that are refused, with and without a status, and one whose results are too few."""
    batch = Batch(folder, make, file_of(plain(30, CLAUDE, ODD)), target("north", "anthropic", max_lines=10))
    first, second, third = batch.split()
    said = {"code": "invalid_request_error", "message": "The batch is no good.", "param": "requests.3"}
    batch.end(first, kind="refused", status=400, refused_together=10, **said)
    batch.end(second, kind="refused", status=None, job=None, **said)
    batch.answer(third, done=8)
    batch.end(third, code="results_lost", message="The results are gone.")
    return batch.merge()


def unsent(folder: Path, make: Make) -> Digests:
    """A batch that was cancelled before it was split."""
    batch = Batch(folder, make, file_of(plain(9, GPT)), _openai())
    batch.stages.manifest = split(structs.replace(batch.stages.split_job(), unsent="batch_cancelled"))
    return batch.merge()


def faults(folder: Path, make: Make) -> Digests:
    """Lines that a strict account cannot have: nothing is written."""
    batch = Batch(folder, make, _refused_lines(), target("north", "anthropic", strict=True))
    return batch.found | {"split": told(batch.stages.split())}


def bad_file(folder: Path, make: Make) -> Digests:
    """A file with every kind of fault, which is never split."""
    lines = file_of(plain(8, GPT), odd=False).splitlines()
    lines[1] = lines[1].replace(b'"POST"', b'"GET"')
    lines[2] = b'{"custom_id": "half'
    lines[3] = lines[0]
    lines[4] = lines[4].replace(b'"model"', b'"modell"')
    lines[5] = b"[1, 2]"
    lines[6] = lines[6].replace(b"Hello", b"\xff\xfe")
    return Batch(folder, make, b"\n".join(lines), _openai()).found


def onward(folder: Path, make: Make) -> Digests:
    """Lines that failed go on to another provider, and from there to a third account."""
    content = file_of(plain(30, GPT, ODD))
    accounts = _openai(max_lines=16), target("north", "anthropic", model=CLAUDE), target("south", "openai")
    rules = Rules(rule=Fallback((To(0), To(1), To(2))))
    batch = Batch(folder, make, content, *accounts, rules=rules)
    waiting, known, files = list(batch.split()), 2, list[RescueFiles]()
    assert len(waiting) == known
    while waiting:
        part = waiting.pop(0)
        batch.answer(part)
        if part.goes_on is not None:
            made = _gone_on(batch, part, known, files)
            known += len(made)
            waiting += made
    return batch.merge(rescues=tuple(files))


def _gone_on(batch: Batch, part: PartSpec, first: int, files: list[RescueFiles]) -> tuple[PartSpec, ...]:
    """Put the failed lines of a part into parts of its next target."""
    stages, folder = batch.stages, batch.stages.folder / f"rescue-{part.n}"
    assert part.goes_on is not None
    parent = Parent(part.n, str(stages.assignment(part)), stages.rows[part.n])
    job = structs.replace(stages.split_job(), folder=str(folder))
    facts = rescue(RescueJob(job, (parent,), part.goes_on, first))
    documents = [(folder / each.file).read_bytes() for each in facts.parts]
    batch.found[f"rescued {part.n}"] = sha256(told(facts).encode(), *documents)
    if facts.parts:
        files.append(RescueFiles(str(folder / facts.assignment), str(folder / REMARKS)))
    stages.assigned |= {each.n: folder / facts.assignment for each in facts.parts}
    return facts.parts


def kept(folder: Path, make: Make) -> Digests:
    """A file that is asked again with more lines: those that were answered are not sent again."""
    shelf = Shelf(str(folder / "shelf"), 2**24, DAY, 2**20)
    looking = Looking(shelf, "default", {"lane": "account"}, NOW, DAY)
    found = Digests()
    for name, count in (("first", 20), ("again", 28)):
        keeping = Keeping(shelf, str(folder / name / "split" / KEYS), NOW)
        bodies = [*plain(count, GPT), *plain(4, GPT)]  # some lines twice
        batch = Batch(folder / name, make, file_of(bodies), _openai(), batch_id=name, kept=looking, keeping=keeping)
        for part in batch.split():
            batch.answer(part)
        found |= {f"{name}: {what}": digest for what, digest in batch.merge().items()}
    return found


def so_far(folder: Path, make: Make) -> Digests:
    """What is known of a batch one of whose jobs still runs."""
    batch = Batch(folder, make, _refused_lines(), target("north", "anthropic", max_lines=8))
    first, *_, last = batch.split()
    batch.answer(first)
    batch.answer(last, done=2)
    job = structs.replace(batch.stages.merge_job(), fates=batch.fates)
    size = merge_so_far(job, str(folder / "so-far"))
    content = (folder / "so-far").read_bytes()
    assert size == len(content)
    return batch.found | {"so far": sha256(content)}


BATCHES: Mapping[str, Story] = {
    "plain, OpenAI": whole(file_of(plain(60, GPT)), _openai()),
    "plain, Anthropic": whole(file_of(plain(60, CLAUDE)), target("north", "anthropic")),
    "plain, Vertex AI": whole(file_of(plain(40, GEMINI)), target("east", "vertex-ai")),
    "plain, Bedrock": whole(
        file_of([*plain(20, NOVA), *plain(20, BEDROCK_CLAUDE)]), target("west", "bedrock"), batch_id="batch_west"
    ),
    "odd answers, OpenAI": whole(file_of(plain(40, GPT, ODD)), _openai()),
    "odd answers, Anthropic": whole(file_of(plain(40, CLAUDE, ODD)), target("north", "anthropic")),
    "odd answers, Vertex AI": whole(file_of(plain(40, GEMINI, ODD)), target("east", "vertex-ai")),
    "tools, OpenAI": whole(file_of(tools(20, GPT)), _openai()),
    "tools, Anthropic": whole(file_of(tools(40, CLAUDE)), target("north", "anthropic")),
    "tools, Vertex AI": whole(file_of(tools(40, GEMINI)), target("east", "vertex-ai")),
    "tools, Bedrock": whole(file_of(tools(30, BEDROCK_CLAUDE)), target("west", "bedrock")),
    "schemas, Anthropic": whole(
        file_of(schemas(30, "claude-sonnet-4-5")), target("north", "anthropic", drop_params=True)
    ),
    "schemas, Vertex AI": whole(file_of(schemas(30, GEMINI)), target("east", "vertex-ai", drop_params=True)),
    "pictures, Anthropic": whole(file_of(pictures(10, CLAUDE)), target("north", "anthropic")),
    "pictures, Vertex AI": whole(file_of(pictures(10, GEMINI)), target("east", "vertex-ai")),
    "several endpoints": whole(_mixed(), _openai(), endpoint="auto"),
    "several accounts": whole(
        _routed(),
        _openai(),
        target("north", "anthropic"),
        target("east", "vertex-ai"),
        endpoint="auto",
        rules=_ROUTED,
    ),
    "several models": whole(
        file_of(
            body | {"model": f"gemini-2.5-{('flash', 'pro', 'flash-lite')[n % 3]}"}
            for n, body in enumerate(plain(30, ""))
        ),
        target("east", "vertex-ai"),
    ),
    "cut by lines": whole(file_of(plain(50, GPT)), _openai(max_lines=7)),
    "cut by bytes": whole(file_of(plain(50, CLAUDE)), target("north", "anthropic", max_bytes=3_000)),
    "cut by inputs": whole(
        file_of(embeddings(30, "text-embedding-3-small", dimensions=8), EMBEDDINGS),
        _openai(max_inputs=4),
        endpoint=EMBEDDINGS,
    ),
    "embeddings, Vertex AI": whole(
        file_of(embeddings(20, "gemini-embedding-001"), EMBEDDINGS), target("east", "vertex-ai"), endpoint=EMBEDDINGS
    ),
    "responses, Anthropic": whole(
        file_of(({"model": CLAUDE, "input": text(n), "max_output_tokens": 50} for n in range(20)), RESPONSES),
        target("north", "anthropic"),
        endpoint=RESPONSES,
    ),
    "changed bodies": whole(
        file_of(plain(30, GPT)), _openai(changes=_CHANGED, model="gpt-4.1"), growth=Growth(700, 20_000)
    ),
    "fan-out": whole(
        file_of(body | {"n": 1 + n % 3} for n, body in enumerate(plain(20, CLAUDE))),
        target("north", "anthropic", fan_out=True, max_lines=15),
        growth=Growth(2**20, 2**20),
    ),
    "rejected lines": whole(_refused_lines(), target("north", "anthropic", models=("claude-*",), max_lines=9)),
    "dropped parameters": whole(_refused_lines(), target("north", "anthropic", drop_params=True)),
    "unsent": unsent,
    "strict faults": faults,
    "faulty file": bad_file,
    "stopped": stopped,
    "refused jobs": refused,
    "lines that go on": onward,
    "kept answers": kept,
    "so far": so_far,
}


def recorded() -> dict[str, Digests]:
    """Return what was recorded."""
    found: dict[str, Digests] = json.loads(RECORDED.read_bytes())
    return found


def record(names: Iterable[str] = BATCHES) -> dict[str, Digests]:
    """Run the batches and return what they give."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: BATCHES[name](Path(folder, str(n)), Stages) for n, name in enumerate(names)}


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), indent=1) + "\n")
