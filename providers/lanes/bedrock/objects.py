"""The objects of a part: its document, what its job wrote, and that none of them is left behind.

Everything lies below `{prefix}/pp-{mark}/`. Each staging has a name of its own there, which is durable before the first
byte leaves: a create that is accepted after its document was taken away must not find the next one in its place.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from proxy_plugin.providers import kept
from proxy_plugin.providers.base import Account, JobStatus, PartFile, Refused, TryLater
from proxy_plugin.providers.lanes.bedrock.accounts import bucket_of, of
from proxy_plugin.providers.lanes.bedrock.refusals import told
from proxy_plugin.providers.lanes.bedrock.rows import stored_name
from proxy_plugin.providers.stores import s3

INPUT, MANIFEST = "input.jsonl", "manifest.json.out"
MOST_OF_A_MANIFEST = 1 << 16


async def upload(account: Account, part: PartFile, *, again: bool) -> tuple[str, str]:
    """Bring the document to the bucket; return the bucket and its key. Raises TryLater or Refused."""
    name = of(account).bucket
    folder = of(account).folder(part.mark)
    known = await asyncio.to_thread(kept.noted, part.path) if again else {}
    staging = known.get("staging")
    if not isinstance(staging, str):
        staging = secrets.token_hex(4)
        await asyncio.to_thread(kept.note, part.path, {"staging": staging}, keep=True)
    bucket, key = bucket_of(account, name), f"{folder}{staging}/{INPUT}"
    try:
        if not (again and await bucket.size(key) == part.bytes):
            await bucket.put(part.path, key)
    except Refused as refused:
        raise told(refused) from None
    return name, key


async def shows(account: Account, name: str, key: str) -> bool:
    """Tell whether the account sees a document."""
    return await bucket_of(account, name).size(key) is not None


async def take_away(account: Account, part: PartFile, name: str, key: str) -> None:
    """Delete a document for certain; the next one gets another name. Raises TryLater or Refused."""
    bucket = bucket_of(account, name)
    await bucket.delete(key)
    if await bucket.size(key) is not None:
        raise TryLater(f"s3://{name}/{key} is still there after its deletion")
    if await asyncio.to_thread(part.path.exists):
        await asyncio.to_thread(kept.note, part.path, {}, keep=True)


class Written(NamedTuple):
    """What lies below the address of a job's results: objects with their sizes, and what the manifest counts."""

    objects: Mapping[str, int]
    completed: object = None
    failed: object = None


async def written(account: Account, uri: str, ends: tuple[str, ...]) -> Written:
    """Return what a job wrote, whatever its names are. Raises TryLater or Refused."""
    bucket, prefix = _at(account, uri)
    found = {key: size async for key, size in bucket.keys(prefix)}
    results = {key: size for key, size in sorted(found.items()) if key.endswith(ends) and not key.endswith(MANIFEST)}
    manifest = next((key for key, size in found.items() if key.endswith(MANIFEST) and size <= MOST_OF_A_MANIFEST), None)
    counts = {} if manifest is None else _counts(await bucket.read(manifest))
    return Written(results, counts.get("successRecordCount"), counts.get("errorRecordCount"))


async def bring(account: Account, status: JobStatus, folder: Path, ends: tuple[str, ...]) -> tuple[str, ...]:
    """Store the results of an ended job; return their names. Raises TryLater or Refused."""
    facts, names = status.results, list[str]()
    bucket, _ = _at(account, facts["uri"])
    objects = (await written(account, facts["uri"], ends)).objects
    for number, (key, size) in enumerate(objects.items()):
        names.append(stored_name(number, facts["form"], facts["model"], facts.get("ended", "0")))
        await bucket.bring(key, folder / names[-1], status, size)
    return tuple(names)


async def clear(account: Account, mark: str, places: Iterable[tuple[str, str]]) -> None:
    """Delete everything below these folders, and abort what was not uploaded whole; nothing without the mark."""
    for name, folder in places:
        if f"pp-{mark}/" not in folder:
            continue
        bucket = bucket_of(account, name)
        try:
            await bucket.abandon(folder)
            if not of(account).keep_objects:
                for key in [key async for key, _ in bucket.keys(folder)]:
                    await bucket.delete(key)
        except Refused as refused:
            if refused.code != "NoSuchBucket":
                raise told(refused) from None


def _counts(text: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _at(account: Account, uri: str) -> tuple[s3.Bucket, str]:
    name, prefix = parted(uri)
    return bucket_of(account, name), prefix


def parted(uri: str) -> tuple[str, str]:
    """Return bucket and key of an s3 URI. Raises TryLater for anything else."""
    found = urlsplit(uri)
    if found.scheme != "s3" or not found.netloc:
        raise TryLater("a job names no place in S3")
    return found.netloc, found.path.lstrip("/")
