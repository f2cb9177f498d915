"""How much of its share the working folders of a workspace's batches take.

Nothing of it is in the database: what is on the disk counts. The folders are measured at the start, steps add what they
have written, and who was touched is measured again a while later, so that what a failed step left or a cleaning removed
is forgotten by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Working:
    """Bytes by batch, and their sums by workspace."""

    def __init__(self) -> None:
        self._batches: dict[str, tuple[str, int]] = {}
        self._sums: dict[str, int] = {}
        self._touched: dict[str, str] = {}

    def of(self, workspace: str) -> int:
        """Return how many bytes the batches of a workspace hold."""
        return self._sums.get(workspace, 0)

    def add(self, workspace: str, batch_id: str, count: int) -> None:
        """Note that a batch has written `count` bytes more."""
        self._touched[batch_id] = workspace
        self._set(workspace, batch_id, self._size(batch_id) + count)

    def measured(self, workspaces: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """Take the sizes that the folders of some batches were seen to have; `workspaces` says whose they are."""
        for batch_id, size in sizes.items():
            if batch_id in workspaces:
                self._set(workspaces[batch_id], batch_id, size)

    def forget(self, batch_ids: Iterable[str]) -> None:
        """Forget batches whose folders are gone."""
        for batch_id in batch_ids:
            if batch_id in self._batches:
                self._set(self._batches[batch_id][0], batch_id, 0)

    def touched(self) -> dict[str, str]:
        """Return the batches that have written since the last call, and whose they are."""
        found, self._touched = self._touched, {}
        return found

    def _size(self, batch_id: str) -> int:
        return self._batches.get(batch_id, ("", 0))[1]

    def _set(self, workspace: str, batch_id: str, size: int) -> None:
        size = max(0, size)
        self._sums[workspace] = self._sums.get(workspace, 0) + size - self._size(batch_id)
        if size > 0:
            self._batches[batch_id] = (workspace, size)
        else:
            self._batches.pop(batch_id, None)
        if self._sums[workspace] <= 0:
            del self._sums[workspace]
