"""Toy Looms: a service of our own invention and its adapter, from outside the tree.

This folder is what a site-packages folder would be: with it on sys.path (or PYTHONPATH, for a process of its own) the
entry points in `toy_lane-1.0.dist-info` register the providers `toy`, `toy-single`, `toy-tidy` and `toy-broken`. In the
process of the tests they are known to the modules that ask for the fixture `toys`, and to no other.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy_plugin.providers import catalog


@contextmanager
def installed(site: Path = Path(__file__).parent) -> Iterator[None]:
    """Have the adapters of a folder registered, as an installed package would, and take them away again."""
    sys.path.insert(0, str(site))
    _forget_providers()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        _forget_providers()


def _forget_providers() -> None:
    importlib.invalidate_caches()
    catalog._registered.cache_clear()
    catalog.load.cache_clear()
