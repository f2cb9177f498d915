"""What a retry sends again: all that failed, but for lines that were refused alone; and what it knows of the others."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.line_index import IndexWriter
from proxy_plugin.lines.sources.failed_lines import FailedLines, Together, copy, measure

# What became of a line: answered, failed by itself, refused alone, refused with others as part 3 or as part 4.
ENDS: dict[str, dict[str, Any]] = {
    "ok": {"outcome": "succeeded"},
    "failed": {"outcome": "failed", "code": "500"},
    "alone": {"outcome": "refused", "part": 9, "refused_together": 1},
    "three": {"outcome": "refused", "part": 3, "refused_together": 7},
    "four": {"outcome": "refused", "part": 4, "refused_together": 7},
}


# Tries of a line that went on: they count for nothing, whatever they say.
TRIES = [
    {"outcome": "refused", "part": 3, "refused_together": 7, "counts": False},
    {"outcome": "superseded", "counts": False},
]


def job(folder: Path, ends: list[str], **more: Any) -> FailedLines:
    """Write a file, its index and a ledger."""
    with (folder / "source").open("wb") as stream, IndexWriter(folder / "index") as writer:
        for n in range(len(ends)):
            writer.append(stream.tell(), len(f"line {n}"), 2 * n + 1)
            stream.write(f"line {n}\n\n".encode())
    told = [each for n, end in enumerate(ends) for each in (*TRIES[: n % 3], ENDS[end])]
    (folder / "ledger").write_text("".join(json.dumps(each) + "\n" for each in told))
    source, index, ledger = (str(folder / name) for name in ("source", "index", "ledger"))
    return FailedLines(source, index, ledger, **more)


@given(
    ends=st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=40),
    at_once=st.integers(1, 50),
    elsewhere=st.booleans(),
)
def test_lines_that_were_refused_alone_stay_and_those_refused_together_are_told(
    ends: list[str], at_once: int, elsewhere: bool
) -> None:
    with tempfile.TemporaryDirectory() as home:
        failed = job(Path(home), ends, lines_at_once=at_once, elsewhere=elsewhere)
        left = [] if elsewhere else [n for n, end in enumerate(ends) if end == "alone"]
        sent = [n for n, end in enumerate(ends) if end != "ok" and n not in left]
        copied, measured = copy(failed, str(Path(home) / "copy")), measure(failed)
        assert (Path(home) / "copy").read_text() == "".join(f"line {n}\n" for n in sent)
        assert measured.bytes == copied.file.bytes
        assert measured.left_out == tuple(2 * n + 1 for n in left[:10])
        expected = []
        for part, end in () if elsewhere else ((3, "three"), (4, "four")):
            if places := [at for at, n in enumerate(sent) if ends[n] == end]:
                expected.append(Together(part, places[0], places[-1]))
        assert sorted(copied.together, key=lambda each: each.part) == expected


OUTCOMES = [end["outcome"] for end in ENDS.values()]


def attempts(folder: Path, ends: list[str], before: list[list[str]]) -> None:
    """Write a ledger in which each line has the records of attempts that do not count before the one that does."""
    told = []
    for n, (end, earlier) in enumerate(zip(ends, before, strict=True)):
        told += [ENDS[each] | {"line": 2 * n + 1, "counts": False} for each in earlier]
        told.append(ENDS[end] | {"line": 2 * n + 1})
    (folder / "ledger").write_text("".join(json.dumps(each) + "\n" for each in told))


STORIES = st.lists(st.tuples(st.sampled_from(sorted(ENDS)), st.lists(st.sampled_from(sorted(ENDS)), max_size=2)))


@given(stories=STORIES.filter(bool), at_once=st.integers(1, 50), outcomes=st.sets(st.sampled_from(OUTCOMES)))
def test_what_does_not_count_is_passed_over_and_outcomes_choose(
    stories: list[tuple[str, list[str]]], at_once: int, outcomes: set[str]
) -> None:
    ends = [end for end, _ in stories]
    with tempfile.TemporaryDirectory() as home:
        failed = job(Path(home), ends, lines_at_once=at_once, elsewhere=True, outcomes=tuple(outcomes))
        attempts(Path(home), ends, [earlier for _, earlier in stories])
        wanted = outcomes or set(OUTCOMES) - {"succeeded"}
        copied, measured = copy(failed, str(Path(home) / "copy")), measure(failed)
        sent = [n for n, end in enumerate(ends) if ENDS[end]["outcome"] in wanted]
        assert (Path(home) / "copy").read_text() == "".join(f"line {n}\n" for n in sent)
        assert (measured.bytes, measured.unknown) == (copied.file.bytes, ())
        assert measured.outcomes == tuple(sorted({ENDS[end]["outcome"] for end in ends}))


def test_lines_that_are_named_by_number_are_sent_whatever_became_of_them(tmp_path: Path) -> None:
    ends = ["ok", "alone", "three", "failed"]
    failed = job(tmp_path, ends, numbers=(5, 1, 3, 1))
    attempts(tmp_path, ends, [[]] * 4)
    assert copy(failed, str(tmp_path / "copy")).together == (Together(3, 2, 2),)
    assert (tmp_path / "copy").read_text() == "line 0\nline 1\nline 2\n"
    assert measure(failed).left_out == ()


def test_numbers_that_no_line_has_are_told(tmp_path: Path) -> None:
    failed = job(tmp_path, ["ok", "failed"], numbers=(2, 3, 99))
    attempts(tmp_path, ["ok", "failed"], [[], []])
    assert measure(failed).unknown == (2, 99)
