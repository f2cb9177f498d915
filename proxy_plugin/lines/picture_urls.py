"""Which pictures the lines of a file ask for: found the way the split will find them (worker process)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choosing.choice import Pick, Unplaced
from proxy_plugin.lines.envelope import Envelope, decode_envelope
from proxy_plugin.lines.lane import Lanes
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.media.parts import Picture, taken_apart
from proxy_plugin.media.store import MAX_URL, URLS, create, name_of, publish
from proxy_plugin.providers.base import LineRejected, native_id

_NOBODY = native_id("a" * 10, 0)  # nothing is sent under it


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
    """Return the pictures that are fetched for a line: none for one that will be rejected before they matter."""
    envelope, chooser, tried = decode_envelope(line), lanes.chooser, set[int]()
    found = _try(chooser.choose, lanes, envelope)
    while isinstance(found, Unplaced) and (pick := chooser.further(found, tried)):
        found = _try(pick, lanes, envelope)
    return [] if isinstance(found, Unplaced) else found


def _try(pick: Pick, lanes: Lanes, envelope: Envelope) -> list[Picture] | Unplaced:
    choice = None
    try:
        choice = pick(envelope)
        lane = lanes.lane(choice, envelope.url)
        body, _ = lane.edited(envelope.body)
        if lane.spec.fetch_media:
            return taken_apart(body).pictures
        if choice.then is not None:  # whoever stands behind may want them, if this target cannot have the line
            lane.translate(_NOBODY, body, choice.model, envelope.model)
    except LineRejected as rejection:
        return Unplaced(rejection, choice)
    return []
