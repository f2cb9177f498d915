"""A split in ranges in this process: what the engine has workers do, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from proxy_plugin.lines.manifest import Manifest
from proxy_plugin.lines.ranges.documents import DocumentsJob, FinishJob, finish, write_documents
from proxy_plugin.lines.ranges.parts import PartsJob, plan_parts
from proxy_plugin.lines.ranges.pieces import InOrder, RangeJob, translate_range
from proxy_plugin.lines.split import SplitJob


def split_at(job: SplitJob, cuts: Sequence[int]) -> Manifest | None:
    """Split in ranges that begin at these ordinals, the last one being where the file ends; None: they do not fit."""
    ranges = [RangeJob(job, n, *each) for n, each in enumerate(pairwise(cuts))]
    try:
        for each in ranges:
            translate_range(each)
        planned = plan_parts(PartsJob(job, tuple(cuts[:-1])))
    except InOrder:
        return None
    hashes = [write_documents(DocumentsJob(job, n, n + 1))[0] for n in range(len(planned))]
    return finish(FinishJob(job, tuple(hashes)))
