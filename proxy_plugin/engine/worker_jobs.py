"""What a worker is told to do: the paths and facts of a split and of a merge, from rows that have been read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Raw, structs

from proxy_plugin.access.kept_answers import looking
from proxy_plugin.answers.keys import KEYS, RECORD_BYTES
from proxy_plugin.gateway import Gateway
from proxy_plugin.lines.body_changes import Growth
from proxy_plugin.lines.choose import TargetSpec, target_spec
from proxy_plugin.lines.collect import EXPIRED, CollectJob
from proxy_plugin.lines.cut import CutJob
from proxy_plugin.lines.manifest import ASSIGNMENT, CACHED_ROWS, REMARKS, Heir
from proxy_plugin.lines.merge import MergeJob, RescueFiles
from proxy_plugin.lines.scan import ScanLimits
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.lines.verdicts import Fate, Shortfall
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.routing.route import EVERYTHING, Route, decode_route, models_of
from proxy_plugin.storage.batch_folders import BatchFolders, size_of
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.states import PART_ENDS
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.cuts import cut_of
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow, refusal_of, results_of, unheld
from proxy_plugin.storage.tables.rescues import rescue_of

SHORTEST_LINE = 3  # bytes, `{}` and its break
SCANNED_BYTES = 48  # of the index, its ranges and the search for repeated ids, a line
LINE_BYTES = 256  # that a line or a row has beside its body
ENVELOPE_BYTES = 900  # of a line of the result files and of the ledger, beside the stored text
WORKER_GIVES_UP = 5  # tries in which three workers died each


def scan_limits(gateway: Gateway) -> ScanLimits:
    """Return what the scan of a file takes."""
    return ScanLimits(gateway.config.limits.max_line_bytes, gateway.config.limits.max_lines)


def scan_bytes(row: FileRow, max_lines: int) -> int:
    """Return how many bytes the scan of a file writes at most: the index, and the search for repeated ids."""
    return min(max_lines, row.bytes // SHORTEST_LINE + 1) * SCANNED_BYTES


def split_job(
    gateway: Gateway,
    row: FileRow,
    endpoint: str,
    route: Route,
    *,
    batch_id: str,
    folder: str,
    unsent: str | None = None,
) -> SplitJob:
    """Return what the split of a file needs to know; `unsent`: why nothing of it is sent any more."""
    blobs, config = gateway.blobs, gateway.config
    return SplitJob(
        batch_id=batch_id,
        source=str(blobs.path(row.id)),
        index=str(blobs.index_path(row.id)),
        folder=folder,
        source_sha256=row.sha256,
        endpoint=endpoint,
        targets=targets_of(route),
        rules=route.rules or EVERYTHING,
        max_jobs=config.limits.max_jobs_per_batch,
        growth=Growth(config.limits.max_line_bytes, config.limits.max_file_bytes),
        allowance=config.engine.allowance,
        unsent=unsent,
        kept=looking(config, gateway.secret, route, row.workspace, gateway.clock.now()),
        rescue=route.rescue or None,
    )


def targets_of(route: Route) -> tuple[TargetSpec, ...]:
    """Return the targets of a route as all need them who put its lines into parts."""
    return tuple(structs.replace(target_spec(each), fan_out=route.fan_out is True) for each in route.targets)


def split_bytes(row: FileRow, lines: int, job: SplitJob) -> int:
    """Return about how many bytes a split writes: the lines, what the route puts into each, and what each lane adds."""
    changes = [target.changes for target in job.targets if target.changes]
    added = max((sum(map(_length, (*each.override.values(), *each.default.values()))) for each in changes), default=0)
    return row.bytes + lines * (added + LINE_BYTES + (RECORD_BYTES if job.kept else 0))


def _length(text: bytes | Raw) -> int:
    return len(bytes(text))


def collect_bytes(job: CollectJob, lines: int) -> int:
    """Return about how many bytes the rows of a part have. Blocking."""
    return sum(size_of(Path(job.results, name)) for name in job.names) * 5 // 4 + lines * LINE_BYTES


def merge_bytes(job: MergeJob, lines: int) -> int:
    """Return about how many bytes the merge of so many lines writes. Blocking."""
    folders = (job.rejected, *job.rows.values(), *([job.cached] if job.cached else []))
    rows = sum(size_of(Path(folder)) for folder in folders)
    return rows + lines * ENVELOPE_BYTES


def merge_job(
    blobs: Blobs,
    folders: BatchFolders,
    batch: BatchRow,
    rows: Sequence[PartRow],
    attempts: Mapping[int, int],
    folder: Path,
) -> MergeJob:
    """Return what the merge of a batch needs to know, or of those of its parts that have ended.

    `rows` are all of its parts, `attempts` counts the submissions of each.
    """
    home = folders.folder(batch.id)
    split_dir = home / (batch.split_dir or "")
    ended = [row for row in rows if row.state in PART_ENDS and row.state != "replaced"]
    known = [rescue_of(row) for row in rows]
    rescued = dict.fromkeys(each.assignment for each in known if each.assignment)  # in the order of their parts
    collected = {row.n: results_of(row).rows for row in ended}
    models = models_of(decode_route(batch.route))
    return MergeJob(
        batch_id=batch.id,
        source=str(blobs.path(batch.input_file_id)),
        index=str(blobs.index_path(batch.input_file_id)),
        total=batch.total,
        assignment=str(split_dir / ASSIGNMENT),
        rejected=str(split_dir / REMARKS),
        rows={n: str(home / name) for n, name in collected.items() if name is not None},
        fates={
            row.n: _fate(row, attempts.get(row.n, int(row.way == DIRECT)), row.model or models.get(row.slug))
            for row in ended
        },
        folder=str(folder),
        heirs=heirs_of(rows),
        cached=str(split_dir / CACHED_ROWS) if batch.cached else None,
        keys=str(split_dir / KEYS),
        rescues=tuple(RescueFiles(str(home / name), str((home / name).parent / REMARKS)) for name in rescued),
        late={row.n: str(home / each.late) for row, each in zip(rows, known, strict=True) if each.late},
    )


def heirs_of(rows: Iterable[PartRow]) -> tuple[Heir, ...]:
    """Return which of the parts have lines of a part that they replaced."""
    cuts = ((row.n, cut) for row in rows if (cut := cut_of(row)) is not None)
    return tuple(Heir(n, cut.parent, cut.first, cut.last) for n, cut in cuts)


def cut_job(
    blobs: Blobs,
    batch: BatchRow,
    part: PartRow,
    document: Path,
    assignment: Path,
    *,
    heirs: Iterable[PartRow],
    folder: Path,
) -> CutJob:
    """Return what is the same of every way to cut a part; `heirs` have others' lines."""
    return CutJob(
        provider=part.provider,
        part=part.n,
        mark=part.mark,
        lines=part.lines,
        document=str(document),
        assignment=str(assignment),
        index=str(blobs.index_path(batch.input_file_id)),
        folder=str(folder),
        heirs=heirs_of(heirs),
    )


def _fate(row: PartRow, attempts: int, model: str | None) -> Fate:
    fate = Fate(
        kind=row.state,  # type: ignore[arg-type]
        mark=row.mark,
        provider=row.provider,
        slug=row.slug,
        model=model,
        code=_cut_by(row),
        job=row.job,
        attempt=attempts,
        short=_shortfall(row),
        way=row.way,
    )
    refusal = refusal_of(row)
    if refusal is None:
        return fate
    fate = structs.replace(fate, refused_together=row.lines if refusal.divisible is True else None)
    if row.state == "dropped":  # while it was cut: what its lines were refused for is left to a retry
        return fate
    said = {"message": refusal.message, "status": refusal.status, "param": refusal.param}
    return structs.replace(fate, code=refusal.code or fate.code, **said)


def _cut_by(row: PartRow) -> str | None:
    """Return why lines of a part that have no row were cut; None where nothing explains it.

    Lanes may leave out what a cancel or the window stopped. What stopped the batch was noted when the rows were
    collected: those rows say the same. A job that only somebody else cancelled explains nothing.
    """
    if row.state == "dropped":
        return row.end_reason
    if (short := _shortfall(row)) and short.certain:
        return None  # every line without a row was reported to be answered, so nothing has cut it
    if row.end_reason == "expired":
        return EXPIRED
    stopping = results_of(row).stopping
    return stopping if row.end_reason == "cancelled" and isinstance(stopping, str) else None


def _shortfall(row: PartRow) -> Shortfall | None:
    known = results_of(row)
    lost = unheld(known.told, known.held)
    if not lost or known.told is None or known.held is None:
        return None
    return Shortfall(sum(known.told), known.held[0], row.records - known.held[0], lost, row.requests is not None)
