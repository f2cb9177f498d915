"""Make the documents of parts from the pieces of ranges, several at once, and at last the manifest (workers)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import structs

from proxy_plugin.ground.durable import GrowingFiles, sync_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.lines.manifest import (
    MANIFEST,
    PARTS,
    Manifest,
    native_or_direct,
    read_manifest,
    write_manifest,
)
from proxy_plugin.lines.ranges.independent import RANGES
from proxy_plugin.lines.ranges.parts import PlannedPart, read_plan
from proxy_plugin.lines.ranges.pieces import stand_in
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.lines.ways import half

_BLOCK_BYTES = 2**20


class DocumentsJob(msgspec.Struct, frozen=True):
    """Documents of the parts `first` to `stop`, exclusive."""

    split: SplitJob
    first: int
    stop: int

    @property
    def folder(self) -> str:
        """The path of the folder of the split."""
        return self.split.folder


class FinishJob(msgspec.Struct, frozen=True):
    """`hashes` are those of the documents, in their order."""

    split: SplitJob
    hashes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The path of the folder of the split."""
        return self.split.folder


def write_documents(job: DocumentsJob) -> tuple[str, ...]:
    """Write the documents, durable but for their names; return their hashes. Raises OSError."""
    name = stand_in(job.split).encode()
    return tuple(_written(Path(job.folder), part, name) for part in read_plan(job.split).parts[job.first : job.stop])


def _written(folder: Path, part: PlannedPart, name: bytes) -> str:
    path = folder / part.spec.file
    path.unlink(missing_ok=True)  # of a worker that died
    document, digest = GrowingFiles().file(path), hashlib.sha256()
    framing = half(part.spec.provider, part.spec.way).capabilities.framing
    left = part.spec.bytes - len(framing.prefix) - len(framing.suffix)
    digest.update(framing.prefix)
    document.append(framing.prefix)
    for text in _named(_blocks(folder, part), name, part.spec.mark.encode()):
        block = text[:left]  # without the separator behind the last record
        left -= len(block)
        digest.update(block)
        document.append(block)
    digest.update(framing.suffix)
    document.append(framing.suffix)
    document.sync()
    return digest.hexdigest()


def _blocks(folder: Path, part: PlannedPart) -> Iterator[bytes]:
    for stretch in part.stretches:
        with (folder / stretch.file).open("rb", buffering=0) as stream:
            stream.seek(stretch.start)
            left = stretch.bytes
            while left and (block := stream.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
                yield block
            if left:
                raise ValueError(f"{stretch.file} is shorter than its records")


def _named(blocks: Iterator[bytes], name: bytes, mark: bytes) -> Iterator[bytes]:
    """Yield a text with the part's mark in the place of `name`, which may lie across blocks."""
    held = b""
    for block in blocks:
        text = (held + block).replace(name, mark)
        held = text[1 - len(name) :]
        yield text[: len(text) - len(held)]
    yield held


def finish(job: FinishJob) -> Manifest:
    """Write the manifest, when everything else is durable, and remove the pieces."""
    folder = Path(job.folder)
    if not (folder / MANIFEST).exists():  # else a worker died that had written it
        sync_folder(folder / PARTS)
        sync_folder(folder)
        manifest = _manifest(job)
        passing("split.written")
        write_manifest(folder, manifest)
    shutil.rmtree(folder / RANGES, ignore_errors=True)
    return read_manifest(folder)


def _manifest(job: FinishJob) -> Manifest:
    plan = read_plan(job.split)
    parts = zip((part.spec for part in plan.parts), job.hashes, strict=True)
    specs = (structs.replace(each, sha256=found, way=native_or_direct(each.way)) for each, found in parts)
    return Manifest(job.split.batch_id, plan.total, plan.rejected, tuple(specs))
