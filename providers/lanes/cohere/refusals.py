"""What Cohere's refusals say of lines.

Sources: types of the official SDK, 7.3.1: `validation_error` of a dataset and `status_reason` of a batch are texts, and
an error is `{"message"}`. That they may name lines in words is UNVERIFIED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

OF_THE_DOCUMENT = frozenset({400, 413, 422})


def of_document(refused: Refused) -> Refused:
    """Read a refused upload or create."""
    return _read(refused) if refused.status in OF_THE_DOCUMENT else refused


def of_dataset(origin: Origin, dataset: Mapping[str, Any]) -> Refused:
    """Read why a dataset was found to be no good."""
    return _read(origin.refusal(msgspec.json.encode(dataset.get("validation_error")), code="invalid_request"))


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read why a batch failed."""
    return _read(origin.refusal(msgspec.json.encode(job.get("status_reason")), code="invalid_request"))


def _read(refused: Refused) -> Refused:
    if of_no_line(refused) or "model" in refused.message.lower():
        return refused
    number = in_words(refused.message)
    return at_fault(refused, [] if number is None else [number], divisible=True)
