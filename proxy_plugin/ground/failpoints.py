"""Named places where a test may kill the process, stop it, or make the disk look full.

`PROXY_PLUGIN_FAIL=NAME:N[:ACTION]` acts on the N-th time NAME is passed in this process; N `*` means every time.
ACTION is `kill` (default: SIGKILL to this process), `stop` (SIGSTOP), or `enospc` (OSError: no space left). Several
rules are separated by commas. Worker processes inherit the rules and count for themselves.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

VARIABLE = "PROXY_PLUGIN_FAIL"

_passed: Counter[str] = Counter()


def _rules(text: str) -> dict[str, tuple[str, str]]:
    rules = {}
    for rule in filter(None, text.split(",")):
        name, _, rest = rule.partition(":")
        count, _, action = rest.partition(":")
        rules[name] = (count or "1", action or "kill")
    return rules


_active = _rules(os.environ.get(VARIABLE, ""))


def passing(name: str) -> None:
    """Act if a rule names this place. Costs one dictionary look-up when no rule is set."""
    if name not in _active:
        return
    _passed[name] += 1
    count, action = _active[name]
    if count in ("*", str(_passed[name])):
        _act(name, action)


def _act(name: str, action: str) -> None:
    if action == "enospc":
        raise OSError(errno.ENOSPC, f"failpoint {name}: no space left on device")
    os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)
