"""How workers of pytest-xdist share the suite: a module goes to one of them, so that what is made for it is made once.

Kills have a gateway for each test and are shared one by one; they are what is left to even the end of a run out. The
contract is shared by module and lane. Marks `xdist_group` would say so too, but with pytest 9.2 pytest-xdist 3.8 no
longer finds them: each test was a group of its own, and each worker made everything.
"""

from __future__ import annotations

from collections.abc import Callable

from xdist.scheduler import LoadScopeScheduling

ONE_BY_ONE = frozenset(
    f"tests/whole/kills/test_{name}.py"
    for name in ("deleted_files", "disk_full", "in_doubt", "kill_matrix", "lost_replies", "random_kills")
)
BY_LANE = "tests/whole/contract/"


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Gives scopes to workers, those with many tests first."""

    lane_of: Callable[[str], str]

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.lane_of)


def scope_of(node: str, lane_of: Callable[[str], str]) -> str:
    """Return what a test shares a worker with."""
    module = node.partition("::")[0]
    if module in ONE_BY_ONE:
        return node
    return f"{module} {lane_of(node)}" if module.startswith(BY_LANE) else module
