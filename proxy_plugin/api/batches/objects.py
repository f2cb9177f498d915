"""A batch as its caller sees it."""

from __future__ import annotations

from typing import Any

import orjson

from proxy_plugin.access.own_keys import NEEDED
from proxy_plugin.api.batches import jobs
from proxy_plugin.api.batches.waits import disk_full, x_status
from proxy_plugin.gateway import Gateway
from proxy_plugin.routing.route import may_go_on
from proxy_plugin.storage import states
from proxy_plugin.storage.tables import rescues
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.rescues import Rescued
from proxy_plugin.storage.tables.waits import WaitRow, foremost

_TIMES = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
# What OpenAI's own example of a Batch shows as null ("Create batch", API reference, 2026-08-21), so that a script which
# reads it without asking finds it. `model` and `usage` are not in the example: they are left out while there is none.
_NULLABLE = frozenset({*_TIMES, "errors", "output_file_id", "error_file_id", "metadata"})
_UNPLACED = {"code": None, "message": None, "param": None, "line": None}  # what an error of no field and no line has


async def described(gateway: Gateway, rows: list[BatchRow], *, with_jobs: bool) -> list[dict[str, Any]]:
    """Return batches as they are shown, with what they wait for; `with_jobs` their native jobs and costs, too."""
    live = [row.id for row in rows if row.state not in states.BATCH_ENDS]
    found_waits = await gateway.registry.read(foremost, live) if live else {}
    onward = [row.id for row in rows if may_go_on(row.route)]
    rescued = await gateway.registry.read(rescues.of_batches, onward) if onward else {}
    shown_rows = [shown(gateway, row, found_waits.get(row.id)) | went_on(rescued.get(row.id)) for row in rows]
    if with_jobs:  # by a thread: a page of batches may have thousands
        found = await gateway.registry.scan(jobs.of_batches, [row.id for row in rows])
        for batch in shown_rows:
            batch.update(found[batch["id"]])
    return shown_rows


def shown(gateway: Gateway, row: BatchRow, wait: WaitRow | None = None) -> dict[str, Any]:
    """Return the batch, with what it needs of its caller and what it waits for where there is such a thing."""
    return batch_object(row, needs=NEEDED if gateway.own_keys.needed(row) else None) | waits(gateway, row, wait)


def waits(gateway: Gateway, row: BatchRow, wait: WaitRow | None) -> dict[str, Any]:
    """Return `x_status` for a batch that has not ended and waits for something, else nothing.

    OpenAI's description closes no object, so strict generated clients take a field that it does not name.
    """
    if row.state in states.BATCH_ENDS or (wait is None and not gateway.registry.full):
        return {}
    return {"x_status": disk_full() if wait is None else x_status(wait)}


def went_on(rescued: Rescued | None) -> dict[str, Any]:
    """Return `x_rescued`: how many lines have failed and gone on to another target, and in how many jobs or parts."""
    return {} if rescued is None else {"x_rescued": {"lines": rescued.lines, "jobs": rescued.parts}}


def batch_object(row: BatchRow, *, needs: str | None = None) -> dict[str, Any]:
    """Return the Batch of OpenAI's OpenAPI description (commit f85dbe2, 2026-08-21).

    What is absent is null where OpenAI's example has null, else left out. The counts are the last known sums. `needs`
    says what a running batch needs from its caller before it can go on.
    """
    needed = {"object": "list", "data": [{"code": "needs_credentials", "message": needs}]} if needs else None
    errors: Any = _value(row.errors) or needed
    fields = {
        "id": row.id,
        "object": "batch",
        "endpoint": row.endpoint,
        "model": row.model,
        "errors": errors and {**errors, "data": [{**_UNPLACED, **each} for each in errors["data"]]},
        "input_file_id": row.input_file_id,
        "completion_window": row.completion_window,
        "status": states.public_status(row.state, cancelling=row.cancelling_at is not None),
        "output_file_id": row.output_file_id,
        "error_file_id": row.error_file_id,
        "created_at": row.created_at,
        **{name: getattr(row, name) for name in _TIMES},
        "request_counts": {"total": row.total, "completed": row.completed, "failed": row.failed},
        "usage": _value(row.usage),
        "metadata": _value(row.metadata),
    }
    return {name: value for name, value in fields.items() if value is not None or name in _NULLABLE}


def _value(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
