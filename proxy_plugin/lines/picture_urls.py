"""Which pictures the lines of a file ask for: found the way the split will find them (worker process)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choosing.choice import Pick
from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.lines.lane import Lanes
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.media.parts import Picture, taken_apart
from proxy_plugin.media.store import MAX_URL, URLS, create, name_of, publish
from proxy_plugin.providers.base import LineRejected


class UrlsJob(msgspec.Struct, frozen=True):
    """`folder` is that of the batch's pictures. At most `most` different URLs are listed, the first of the file."""

    split: SplitJob
    folder: str
    most: int


def list_urls(job: UrlsJob) -> None:
    """Write the list of URLs durably into the folder; a list that is there is complete."""
    folder, seen = Path(job.folder), set[str]()
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    split, part = job.split, folder / f"{URLS}.{os.getpid()}"
    meter = Meter(split.allowance)
    lanes = Lanes(split.endpoint, split.targets, split.rules, split.rescue, meter)
    with LineIndex(Path(split.index)) as index, create(part) as stream, meter:
        for _, _, line in index.lines(Path(split.source)):
            for picture in _pictures(lanes, line):
                name = name_of(picture.url)
                if len(seen) < job.most and len(picture.url) <= MAX_URL and name not in seen:
                    seen.add(name)
                    stream.write(msgspec.json.encode(picture.url) + b"\n")
    publish(part, folder / URLS)


def _pictures(lanes: Lanes, line: bytes) -> list[Picture]:
    """Return the pictures that are fetched for a line, for its target and those to which it may go on.

    There are none for a target that rejects it before they matter.
    """
    envelope, found = decode_envelope(line), list[Picture]()
    pick: Pick | None = lanes.chooser.choose
    tried = set[int]()
    while pick is not None:
        choice = None
        try:
            choice = pick(envelope)
            lane = lanes.lane(choice, envelope.url)
            found += taken_apart(lane.edited(envelope.body)[0]).pictures if lane.spec.fetch_media else []
            then = choice.then
        except LineRejected as rejection:
            then = getattr(rejection, "then", None) if choice is None else choice.then
        pick = None if then is None or then in tried else lanes.chooser.continuations[then].pick
        tried |= set() if then is None else {then}
    return found
