"""What Voyage's refusals say of lines.

Source: `reference/create-batch` (OpenAPI 1.1): errors are `{"detail": "..."}`. How a failed batch tells its errors is
UNVERIFIED: OpenAI's form, a list and a text are read.
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


def of_upload(refused: Refused) -> Refused:
    """Read a refused upload. A line that is named is at fault; without one any may be, or the account."""
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused):
        return refused
    return at_fault(refused, [in_words(refused.message) or 0], divisible=True)


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read the errors of a failed job: the first one is its reason."""
    errors = job.get("errors")
    entries = errors.get("data", errors) if isinstance(errors, dict) else errors
    first = entries[0] if isinstance(entries, list) and entries else entries
    found = origin.refusal(msgspec.json.encode(first), code="batch_failed")
    line = first.get("line") if isinstance(first, dict) else None
    named = line if isinstance(line, int) else in_words(found.message) or 0
    return at_fault(found, [named], divisible=not of_no_line(found))
