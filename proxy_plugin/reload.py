"""A configuration that has changed, applied while the gateway runs: API keys, virtual keys, models, configs and
receivers of webhooks.

Running batches keep the route that is stored with them. A file with a problem is refused as a whole and the one before
stays; so is one that lacks a virtual key which they need, for nobody else could end them. The other sections count from
the next start on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from proxy_plugin.access.callers import require_loopback
from proxy_plugin.config import Config
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.tables import needs
from proxy_plugin.webhooks import sender as webhooks

LOG = logging.getLogger("proxy_plugin.reload")
LOOK_SECONDS = 2.0  # between looks at the files; a change counts when two looks have seen the same
NEXT_START = ("server", "storage", "engine", "limits", "secrets", "connections", "alone")

Read = Callable[[], Awaitable[Config]]  # raises ConfigError
_Stamps = dict[Path, tuple[int, ...] | None]


class Reload:
    """Reads the configuration of one gateway again. `learnt` is told of each that is applied, before it is."""

    def __init__(self, gateway: Gateway, read: Read, host: str, learnt: Callable[[Config], None] | None = None) -> None:
        self.asked = asyncio.Event()
        self.looked = False  # since when a change is noticed
        self._gateway, self._read, self._host, self._learnt = gateway, read, host, learnt

    async def watch(self, seconds: float = LOOK_SECONDS) -> None:
        """Read again whenever it is asked for, or a file has changed. Ends when it is cancelled."""
        applied = seen = await asyncio.to_thread(_stamps, self._gateway.config.files)
        self.looked = True
        while True:
            await self._gateway.clock.wait(self.asked, seconds)
            now, asked = await asyncio.to_thread(_stamps, self._gateway.config.files), self.asked.is_set()
            self.asked.clear()
            if asked or now == seen != applied:
                applied = now
                if await self.again() and set(self._gateway.config.files) != set(now):
                    applied = now = await asyncio.to_thread(_stamps, self._gateway.config.files)
            seen = now

    async def again(self) -> bool:
        """Read the file and apply it, and tell whether it was; log what came of it."""
        try:
            later = await self.apply(await self._read())
        except (ConfigError, StorageError, OSError) as error:
            logs.event(LOG, "reload_refused", level=logging.ERROR, problems=str(error).splitlines())
            return False
        config = self._gateway.config
        logs.event(LOG, "reloaded", virtual_keys=len(config.virtual_keys), api_keys=len(config.api_keys), later=later)
        return True

    async def apply(self, new: Config) -> list[str]:
        """Go on with a configuration; return the sections that count from the next start on. Raises ConfigError."""
        require_loopback(new, self._host)
        old = self._gateway.config
        new = replace(new, vouched=old.vouched)
        await self._require_kept(old, new)
        if self._learnt is not None:
            self._learnt(new)
        kept = {name: getattr(old, name) for name in NEXT_START}
        await webhooks.learn(self._gateway, new)
        self._gateway.learn(replace(new, **kept))
        self._gateway.engine.wake()
        later = [name for name in NEXT_START if getattr(old, name) != getattr(new, name)]
        return later + (["shares of workspaces"] if old.shared != new.shared else [])

    async def _require_kept(self, old: Config, new: Config) -> None:
        """Raise ConfigError for virtual keys that go and are needed. Nothing new begins on them meanwhile."""
        gone = {slug: key for slug, key in old.virtual_keys.items() if slug not in new.virtual_keys}
        if not gone:
            return
        closed = {slug: key.model_copy(update={"retired": True}) for slug, key in gone.items()}
        self._gateway.learn(replace(old, virtual_keys={**old.virtual_keys, **closed}))
        try:
            found = await self._gateway.registry.scan(needs.by_slug, set(gone))
        finally:
            self._gateway.learn(old)
        problems = [_needed(slug, count, old, new) for slug, count in sorted(found.items())]
        if problems:
            raise ConfigError("\n".join(problems))


def _needed(slug: str, count: int, old: Config, new: Config) -> str:
    theirs = any(each.slug == slug for each in old.models)
    where = f"model_list: {slug}" if theirs else f"proxy_plugin.virtual_keys.{slug}"
    retired = "model_info: {retired: true}" if theirs else "retired: true"
    gone = f"is disabled ({new.disabled[slug]})" if slug in new.disabled else "is gone"
    batches = "a batch that runs needs it" if count == 1 else f"{count} batches that run need it"
    return f"{where}: {gone}, and {batches}; keep it, with {retired} if it is to take no new work"


def _stamps(files: tuple[Path, ...]) -> _Stamps:
    return {path: _stamp(path) for path in files}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
