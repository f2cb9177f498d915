"""What a line costs in each stage of its way, function by function, and what any program must pay for it.

The stages run in this process, as worker processes run them, one after the other on one core. A timer of the process
looks at each tick of the kernel which function is at work, so the work itself is as fast as without it.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

import msgspec

from bench import floor, report
from bench.lines import write_lines
from bench.translate import requests
from tests.support.stages import CHAT, Stages, target

LOOK = 0.001  # seconds of CPU; where the kernel ticks no faster than every 4 ms, it is that
LINES = 100_000
SHOWN = 25  # functions of a stage
MODELS = {"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5", "vertex-ai": "gemini-2.5-flash"}
KINDS = ("plain", "tools")
ROOT = str(Path(__file__).resolve().parent.parent) + os.sep


@dataclass
class Samples:
    """Looks by function: how often one was itself at work, and how often it or what it called was; and by line."""

    own: Counter[CodeType] = field(default_factory=Counter)
    whole: Counter[CodeType] = field(default_factory=Counter)
    lines: Counter[tuple[CodeType, int]] = field(default_factory=Counter)
    seconds: float = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Look while the block runs, and time it."""
        before = signal.signal(signal.SIGPROF, self._look)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LOOK, LOOK)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.seconds += time.process_time() - began
            signal.signal(signal.SIGPROF, before or signal.SIG_DFL)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename.startswith("<") and frame.f_back is not None:
            frame = frame.f_back  # what dataclasses makes has no file: it is its caller's work
        if frame is None:
            return
        self.own[frame.f_code] += 1
        self.lines[frame.f_code, frame.f_lineno] += 1
        met = set[CodeType]()
        while frame is not None:
            met.add(frame.f_code)
            frame = frame.f_back
        self.whole.update(met)


@dataclass
class Profile:
    """The stages of one file."""

    title: str
    lines: int
    stages: dict[str, Samples] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)  # seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        samples = self.stages.setdefault(name, Samples())
        with samples.taken():
            yield


def run(home: Path, lines: int) -> None:
    """Print the tables of plain lines and of tool lines of three providers."""
    for provider, model in MODELS.items():
        for kind in KINDS:
            report.note(f"profile: {lines:,} {kind} lines, {provider}")
            found = profiled(home, provider, model, kind, lines)
            report.say(summary(found))
            for name in found.stages:
                report.say(functions(found, name))


def profiled(home: Path, provider: str, model: str, kind: str, lines: int) -> Profile:
    """Take one file through its stages in `home`, which is made, and removed at the end."""
    home.mkdir(parents=True)
    try:
        return _profiled(home, provider, model, kind, lines)
    finally:
        shutil.rmtree(home)


def _profiled(home: Path, provider: str, model: str, kind: str, lines: int) -> Profile:
    found = Profile(f"{lines:,} {kind} lines, {provider}", lines)
    source = home / "input.jsonl"
    write(source, lines, provider, model, kind)
    stages = Stages(home / "batch", source, (target("lane", provider),))
    with found.stage("scan"):
        stages.scan()
    with found.stage("split"):
        stages.split()
    for part in stages.manifest.parts:
        names = stages.answer(part)
        with found.stage("collect"):
            stages.collect(part, names)
    with found.stage("merge"):
        facts = stages.merge()
    if facts.completed != lines:
        raise ValueError(f"{facts.completed} of {lines} lines were answered")
    found.floors = floors(source, home / "batch" / "merge" / facts.output.name, lines, home / "copy")
    return found


def write(path: Path, lines: int, provider: str, model: str, kind: str) -> None:
    """Write an input file of plain chat, or of lines with tools, a call and its result."""
    if kind == "plain":
        write_lines(path, lines, provider=provider, models=[model])
        return
    body = requests(model, kind, 1)[0]
    frame = b'{"custom_id": "ticket-%08d", "method": "POST", "url": "' + CHAT.encode() + b'", "body": %b}\n'
    with path.open("wb") as file:
        file.writelines(frame % (number, body) for number in range(lines))


def floors(asked: Path, answered: Path, lines: int, beside: Path) -> dict[str, float]:
    """Return the CPU seconds of what any program must do with these request and answer lines."""
    found = floor.of_file(asked, lines, beside).plus(floor.of_file(answered, lines, beside))
    names = ("json read and write", "orjson read and write", "read and write (cat)", "sha256")
    return dict(zip(names, found, strict=True)) | {"one msgspec decode": _decoded(asked, answered)}


def _decoded(*paths: Path) -> float:
    """Return the seconds of one decode of each line into its members, which stay JSON."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    began = time.process_time()
    for path in paths:
        with path.open("rb", buffering=floor.BLOCK) as lines:
            for line in lines:
                decode(line)
    return time.process_time() - began


def summary(found: Profile) -> str:
    """Return the table of the stages and of the floors, in units of the standard library's `json`."""
    unit = found.floors["json read and write"]
    every = {name: samples.seconds for name, samples in found.stages.items()}
    every["in all"] = sum(every.values())
    every |= {f"floor: {name}": seconds for name, seconds in found.floors.items()}
    rows = [(name, f"{s / unit:.2f}", f"{s / found.lines * 1e6:.1f}", f"{s:.2f}") for name, s in every.items()]
    head = ("stage", "x json", "µs a line", "CPU s")
    below = (
        "`x json`: over reading and writing all request lines and all answer lines once with the standard library's"
        " `json`, in the same run."
    )
    return f"### {found.title}\n\n{report.table(head, rows)}\n\n{below}"


def functions(found: Profile, name: str) -> str:
    """Return the table of the functions of a stage that cost most."""
    samples = found.stages[name]
    looks = samples.own.total() or 1
    each = samples.seconds / found.lines * 1e6 / looks  # µs a line that a look stands for
    rows = [
        (
            _called(code),
            f"{own / looks:.1%}",
            f"{own * each:.2f}",
            f"{samples.whole[code] * each:.2f}",
            _hot(samples, code),
        )
        for code, own in samples.own.most_common(SHOWN)
    ]
    head = ("function", "share", "itself, µs a line", "with what it calls", "its dearest lines")
    title = f"#### {found.title}: {name}, {each * looks:.1f} µs a line, {looks:,} looks"
    return f"{title}\n\n{report.table(head, rows)}"


def _called(code: CodeType) -> str:
    return f"`{code.co_filename.removeprefix(ROOT)}:{code.co_firstlineno} {code.co_qualname}`"


def _hot(samples: Samples, code: CodeType) -> str:
    own = samples.own[code]
    mine = Counter({line: count for (each, line), count in samples.lines.items() if each is code})
    return ", ".join(f"{line}: {count / own:.0%}" for line, count in mine.most_common(3))
