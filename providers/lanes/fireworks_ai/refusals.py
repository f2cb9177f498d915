"""What Fireworks' refusals say of lines.

Source: captures of 2026-08-30. One line with a wrong schema fails its whole job, in words whose line number is
unreliable: it is not believed, and single lines may be the reason. That an id is taken is a 409, or another refusal in
the words of gRPC (UNVERIFIED which).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.errors import ProviderError, Refused
from proxy_plugin.providers.line_faults import at_fault, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

OF_THE_DOCUMENT = frozenset({400, 413, 422})
_PLACE = re.compile(r"^\W*line \d+\W*", re.IGNORECASE)  # would send whoever reads it to the wrong line
LINES = frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNKNOWN", "OUT_OF_RANGE"})  # `Status.code`, SDK 1.2.30


def is_there(error: ProviderError) -> bool:
    """Tell whether a name is refused because it is taken."""
    said = error if isinstance(error, Refused) else error.said
    words = said.message.lower() if said else ""
    return getattr(error, "status", None) == 409 or "already exists" in words or "already_exists" in words


def of_document(refused: Refused) -> Refused:
    """Read a refused dataset or create: what is wrong with a document may be one line's fault."""
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused) or "model" in refused.message.lower():
        return refused
    return at_fault(refused, [], divisible=True)


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read the status of a failed job."""
    status = job.get("status")
    status = status if isinstance(status, dict) else {}
    words = _PLACE.sub("", str(status.get("message") or ""))
    refused = origin.refusal(msgspec.json.encode(words), code="invalid_request")
    divisible = status.get("code", "UNKNOWN") in LINES and not of_no_line(refused)
    return at_fault(refused, [], divisible=divisible and "model" not in refused.message.lower())
