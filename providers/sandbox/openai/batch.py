"""One OpenAI batch: the checked create request, and its state by the sandbox clock."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_plugin.providers.sandbox.openai.bodies import ENDPOINTS
from proxy_plugin.providers.sandbox.openai.checks import (
    check_known,
    expiry_seconds,
    missing_parameter,
    refused,
    wrong_type,
    wrong_value,
)
from proxy_plugin.providers.sandbox.openai.differences import Differences, batch_object
from proxy_plugin.providers.sandbox.openai.lines import Assembled, Examined
from proxy_plugin.providers.sandbox.openai.options import Options
from proxy_plugin.providers.sandbox.openai.validation import Problem

OUTPUT_EXPIRY = 30 * 86400
TERMINAL = frozenset({"failed", "completed", "expired", "cancelled"})

_STAMPS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


@dataclass(frozen=True, slots=True)
class Order:
    """A checked create request."""

    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None = None
    output_expiry: int = OUTPUT_EXPIRY
    window: str = "24h"
    deletes_input: bool = False


@dataclass(slots=True)
class Batch:
    """One batch. Moments are Unix seconds of the sandbox clock."""

    id: str
    account: str
    order: Order
    options: Options
    number: int
    created: float
    stranger: bool
    folder: Path
    input_filename: str | None = None
    status: str = "validating"
    stamps: dict[str, float] = field(default_factory=dict)
    problem: Problem | None = None
    examined: Examined = field(default_factory=Examined)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    settled: bool = False  # how it ends is decided, though the result files may not be there yet
    done: int | None = None  # lines that ran, once no more will
    assembled: Assembled | None = None
    looks: int = 0  # at the ended batch
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def validated(self) -> float:
        return self.created + self.options.validate_seconds

    @property
    def run(self) -> float:
        """When the last line is done."""
        return self.validated + self.options.run_seconds

    @property
    def expires(self) -> float:
        return self.created + self.options.window_seconds

    def progress(self, now: float) -> int:
        """How many lines have run at `now`."""
        if self.done is not None:
            return self.done
        total = len(self.examined.outcomes)
        if "in_progress_at" not in self.stamps:
            return 0
        now = min(now, self.expires, self.stamps.get("cancelling_at", now))
        return total if now >= self.run else int(total * (now - self.validated) / self.options.run_seconds)

    def lost(self) -> int:
        """Finished lines that a cancel throws away."""
        return min(self.options.cancel_loses, self.done or 0) if self.status == "cancelled" else 0

    def counts(self, now: float) -> dict[str, int]:
        done = self.progress(now)
        failed = self.examined.failed(done)
        return {
            "total": len(self.examined.outcomes) if self.status not in {"validating", "failed"} else 0,
            "completed": max(0, done - failed - self.lost()),
            "failed": failed,
        }

    def facts(self, now: float) -> dict[str, Any]:
        """The Batch object, with null for what is absent, as the service answers."""
        stamps = {name: int(self.stamps[name]) if name in self.stamps else None for name in _STAMPS}
        noted = [self.problem] if self.problem else [*self.examined.noted]
        facts = {
            "id": self.id,
            "object": "batch",
            "endpoint": self.order.endpoint,
            "model": self.examined.model,
            "errors": _errors(noted),
            "input_file_id": self.order.input_file_id,
            "completion_window": self.order.window,
            "status": self.status,
            "output_file_id": self.output_file_id if self.looks >= self.options.output_late else None,
            "error_file_id": self.error_file_id if self.looks >= self.options.error_late else None,
            "created_at": int(self.created),
            "expires_at": int(self.expires),
            **stamps,
            "request_counts": self.counts(now) | self.options.told_counts,
            "usage": _usage(self.assembled),
            "metadata": self.order.metadata,
        }
        return batch_object(facts, self.options.differs)


def _errors(problems: Sequence[Problem]) -> dict[str, Any] | None:
    entries = [
        {"code": each.code, "message": each.message, "param": each.param, "line": each.line} for each in problems
    ]
    return {"object": "list", "data": entries} if entries else None


def _usage(assembled: Assembled | None) -> dict[str, Any] | None:
    if assembled is None:
        return None
    return {
        "input_tokens": assembled.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": assembled.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": assembled.input_tokens + assembled.output_tokens,
    }


def read_order(body: Mapping[str, Any], differs: Differences) -> Order:
    """Check a create request's body against `CreateBatchRequest`. Raises `Refused`."""
    body = {**differs.members, **body}
    known = {"input_file_id", "endpoint", "completion_window", *differs.members}
    check_known(body, known | _optional(differs))
    for name in ("input_file_id", "endpoint", "completion_window"):
        if name not in body and (name != "completion_window" or differs.window_needed):
            raise missing_parameter(name)
        if not isinstance(body.get(name, ""), str):
            raise wrong_type(name, str, body[name])
    if differs.path(body["endpoint"]) is None:
        raise wrong_value("endpoint", differs.endpoints or ENDPOINTS)
    window = body.get("completion_window", "24h")
    if not differs.hours(window):
        raise wrong_value("completion_window", tuple(f"{hours}h" for hours in dict.fromkeys(differs.windows)))
    metadata, deletes = _metadata(body), body.get("auto_delete_input_file", False)
    if metadata and differs.metadata_keys is not None:
        metadata = {key: value for key, value in metadata.items() if key in differs.metadata_keys}
    return Order(body["input_file_id"], body["endpoint"], metadata, _output_expiry(body), window, deletes)


def _optional(differs: Differences) -> set[str]:
    metadata = set() if differs.metadata == "refused" else {"metadata"}
    return metadata | ({"output_expires_after"} if differs.expiries else set())


def _output_expiry(body: Mapping[str, Any]) -> int:
    if "output_expires_after" not in body:
        return OUTPUT_EXPIRY
    policy = body["output_expires_after"]
    if not isinstance(policy, dict):
        raise wrong_type("output_expires_after", dict, policy)
    return expiry_seconds("output_expires_after", policy)


def _metadata(body: Mapping[str, Any]) -> dict[str, str] | None:
    """At most 16 pairs of strings, keys to 64 and values to 512 characters."""
    metadata = body.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise wrong_type("metadata", dict, metadata)
    if len(metadata) > 16:
        message = f"Invalid 'metadata': too many properties. Expected at most 16, but got {len(metadata)} instead."
        raise refused(400, message, "object_above_max_properties", "metadata")
    for key, value in metadata.items():
        if len(key) > 64:
            message = "Invalid 'metadata': property name too long. Expected at most 64 characters."
            raise refused(400, message, "property_name_above_max_length", "metadata")
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", str, value)
        if len(value) > 512:
            message = f"Invalid 'metadata.{key}': string too long. Expected at most 512 characters."
            raise refused(400, message, "string_above_max_length", f"metadata.{key}")
    return metadata
