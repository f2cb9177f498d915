"""Blocks of few lines, for tests of what is done block by block."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from proxy_plugin.lines.manifest import BLOCK


@contextmanager
def small_blocks(size: int) -> Iterator[None]:
    """Let blocks have so many lines, wherever that is known."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("proxy_plugin.lines") and getattr(module, "BLOCK", None) == BLOCK:
                stack.enter_context(mock.patch.object(module, "BLOCK", size))
        yield
