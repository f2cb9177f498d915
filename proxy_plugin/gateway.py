"""What the routes and the engine share: one gateway's parts, reached through the aiohttp application."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aiohttp import web

from proxy_plugin.access.callers import Callers
from proxy_plugin.access.litellm_keys import Keys
from proxy_plugin.access.outgoing import own_hosts
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.access.patterns import Patterns
from proxy_plugin.access.vault import Vault
from proxy_plugin.config import Config
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.meter import MEGABYTE
from proxy_plugin.ground.observing.timings import Timings
from proxy_plugin.ground.workers import Terms, Workers
from proxy_plugin.providers.http import Http
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.room import Room, Shares


class Wakes(Protocol):
    """What is told that there is something to do: the engine."""

    def wake(self) -> None:
        """Look for due rows now."""

    def leave(self) -> None:
        """Leave what has not begun to other replicas, where there are any."""


@dataclass(slots=True)
class Traffic:
    """What the requests of one gateway do now."""

    stopping: bool = False  # no new work is taken
    uploads: int = 0  # running; a graceful stop waits for them
    requests: Counter[str | None] = field(default_factory=Counter)  # workspace, None for those passed on -> running
    uploads_of: Counter[str] = field(default_factory=Counter)  # running uploads by workspace


@dataclass(slots=True)
class Gateway:
    """The parts of one running gateway. `engine` exists from start-up to shutdown."""

    config: Config
    callers: Callers
    clock: Clock
    registry: Registry
    blobs: Blobs
    workers: Workers
    http: Http
    answerers: Workers  # make ordinary calls, and nothing else: they wait most of the time
    secret: bytes = field(repr=False)  # keys account fingerprints
    engine: Wakes = field(init=False)
    keys: Keys = field(init=False)  # who is calling; `callers` know the keys of our own alone
    own_keys: OwnKeys = field(init=False)
    patterns: Patterns = field(init=False)
    room: Room = field(init=False)
    folders: BatchFolders = field(init=False)
    traffic: Traffic = field(default_factory=Traffic)
    timings: Timings = field(default_factory=Timings)
    vault: Vault = field(default_factory=Vault, repr=False)
    hooks: asyncio.Event = field(default_factory=asyncio.Event)  # somebody may have to be told of something
    own_hosts: set[str] = field(default_factory=set)  # of the operator's accounts, those of today and of before
    chance: Callable[[], float] = random.random  # from 0 to below 1, for what should not happen all at once

    def __post_init__(self) -> None:
        """Join what callers bring, and all that is written, to the parts that keep it."""
        limits = self.config.limits
        shares = Shares(limits.max_workspace_bytes, self.config.workspace_share, limits.disk_reserve_bytes)
        self.room = Room(self.registry, self.blobs.space, shares, shared=self.blobs.tree is not None)
        self.folders = BatchFolders(self.data_dir, self.blobs.tree)
        parts = (self.config, self.vault, self.registry, self.secret, self.clock)
        self.own_keys = OwnKeys(*parts, wake=lambda: self.engine.wake())  # noqa: PLW0108 - it is yet to come
        self.patterns = Patterns(self.workers)
        self.keys = Keys(self.config, self.callers, self.clock)

    def learn(self, config: Config) -> None:
        """Go on with another configuration: who may call, and with which accounts."""
        self.config = config
        self.callers.learn(config)
        self.keys.learn(config)
        self.own_keys.learn(config)
        self.own_hosts |= own_hosts(config)

    def terms(self, workspace: str, size: int, *, times: float = 1.0) -> Terms:
        """Return what a worker's task may take for so many bytes that it reads. `times`: as much."""
        engine = self.config.engine
        return Terms(workspace, (engine.task_seconds + engine.task_seconds_per_mb * size / MEGABYTE) * times)

    @property
    def data_dir(self) -> Path:
        """Return the folder that everything durable is in."""
        return self.config.storage.data_dir

    def recover_space(self) -> None:
        """Take the ballast's space again once the disk has room. Blocking."""
        self.registry.recover_space(self.blobs.space.disk().free, self.config.limits.disk_reserve_bytes)


GATEWAY = web.AppKey("proxy_plugin.gateway", Gateway)
