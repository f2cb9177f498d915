"""Which splits can be done in ranges of lines side by side, and where the ranges begin."""

from __future__ import annotations

from pathlib import Path

from proxy_plugin.lines.choosing.dependence import by_number
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.split import SplitJob

RANGES = "ranges"  # a folder in the split's, gone when its manifest is written
LEAST_BYTES = 12 * 2**20  # of a range: below it starting the tasks costs what they save
MOST_BYTES = 64 * 2**20


def independent(job: SplitJob) -> bool:
    """Tell whether what becomes of a line is independent of the lines before it, but for its part.

    Kept answers count equal lines, and lines that name one of several accounts take turns. Pictures and lines that
    are several requests are left to the way that every split can go.
    """
    plain = job.unsent is None and job.kept is None and job.media is None
    return plain and not any(target.fan_out for target in job.targets) and by_number(job.rules)


def ranges_of(total: int, workers: int) -> int:
    """Return into how many ranges so many bytes are cut, the same number for each worker; 0: they are not."""
    each = min(max(-(-total // (2 * workers)), LEAST_BYTES), MOST_BYTES)
    count = -(-total // each)
    return 0 if workers < 2 or count < 2 else -(-count // workers) * workers


def bounds(index: Path, workers: int) -> list[tuple[int, int, int]]:
    """Return (first ordinal, ordinal behind the last, bytes) of ranges of about the same size; none for a short file.

    Raises OSError and BrokenIndex. Blocking.
    """
    with LineIndex(index) as lines:
        total = lines.record(len(lines) - 1).offset if len(lines) else 0
        count = ranges_of(total, workers)
        if not count:
            return []
        cuts = [0, *(_line_at(lines, total * n // count) for n in range(1, count)), len(lines)]
        starts = [*(lines.record(cut).offset for cut in cuts[:-1]), total]
        spans = zip(cuts, cuts[1:], starts, starts[1:], strict=False)
        return [(first, stop, end - begin) for first, stop, begin, end in spans if first < stop]


def _line_at(lines: LineIndex, offset: int) -> int:
    """Return the first line that begins at an offset or behind it."""
    low, high = 0, len(lines) - 1
    while low < high:
        middle = (low + high) // 2
        if lines.record(middle).offset < offset:
            low = middle + 1
        else:
            high = middle
    return low
