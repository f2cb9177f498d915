"""Gateways that share an object store, and lose the machine that they run on after each step that they take."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin import app
from proxy_plugin.config import Config
from proxy_plugin.engine import reconciler
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.storage.blobs import StoredBlobs
from proxy_plugin.storage.blobs.cache import Copies
from proxy_plugin.storage.blobs.object_store import Objects


def share(monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, str] | None = None) -> None:
    """Let each gateway that is set up from now on keep its bytes in the store at `url`."""

    def made(config: Config) -> StoredBlobs:
        return StoredBlobs(config.storage.data_dir, Objects(url, options), 2**30)

    monkeypatch.setattr(app, "_blobs", made)


def lose_machines(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Let steps be taken one at a time, each on a machine that has nothing of what was there before; count them."""
    lost = Counter[str]()
    take = Engine._take

    async def taken(self: Engine, step: Any, row: Any, key: Any) -> Any:
        after = await take(self, step, row, key)
        lost[step.name] += 1
        forget_all(self)
        return after

    monkeypatch.setattr(Engine, "_take", taken)
    monkeypatch.setattr(reconciler, "PARALLEL", 1)
    return lost


def forget_all(engine: Engine) -> None:
    """Remove all copies of what is shared, and what is known of them."""
    gateway = engine._gateway
    tree = gateway.blobs.tree
    assert tree is not None
    shutil.rmtree(gateway.data_dir / "batches", ignore_errors=True)
    for shard in (gateway.data_dir / "files").iterdir():
        shutil.rmtree(shard)
    tree.cache = Copies(tree.root, 2**30)
    tree._lists.clear()
    engine._desk.answers._known.clear()


def objects(folder: Path) -> list[str]:
    """Return the keys in the folder of a `file://` store."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
