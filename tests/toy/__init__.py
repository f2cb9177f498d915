"""Toy Looms: a service of our own invention and its adapter, from outside the tree.

This folder is what a site-packages folder would be: with it on sys.path (or PYTHONPATH, for a process of its own) the
entry points in `toy_lane-1.0.dist-info` register the providers `toy` and `toy-single`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from proxy_plugin.providers import catalog

sys.path.insert(0, str(Path(__file__).parent))
catalog._registered.cache_clear()  # another test module may have asked for names before this one was imported
