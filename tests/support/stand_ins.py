"""The providers' stand-ins of a test run: one process for each set of options, whoever asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import every

Options = Mapping[str, Mapping[str, Any]]  # by provider
QUICK: Options = {each.provider: {**each.quick, "run_seconds": 0.1} for each in every()}


class StandIns:
    """Sandbox processes by what they were started with. Whatever a test changes in one, `reset` undoes."""

    def __init__(self) -> None:
        self._running: dict[str, Sandbox] = {}
        self._stack = ExitStack()

    def get(self, *, keys: Sequence[str] = (), options: Options = QUICK) -> Sandbox:
        """Return the process with these options, started at the first call."""
        name = _name(keys, options)
        if name not in self._running:
            self._running[name] = self._stack.enter_context(Sandbox(keys=keys, options=options))
        return self._running[name]

    def reset(self, *, keys: Sequence[str] = (), options: Options = QUICK) -> None:
        """Let the process with these options, if it runs, forget everything. Raises OSError when it has died."""
        if sandbox := self._running.get(_name(keys, options)):
            try:
                sandbox.control.reset()
            except OSError:
                del self._running[_name(keys, options)]  # so that the next module gets another one
                raise

    def stop(self) -> None:
        """End all processes."""
        self._stack.close()
        self._running.clear()


def _name(keys: Sequence[str], options: Options) -> str:
    return json.dumps([keys, options], sort_keys=True)
