"""What Mistral's refusals say of lines.

Source: the project's reference page, captures of 2026-09-02: every line of an upload is validated at once, and a bad
one is a 422 for the whole file ("Invalid file format."), which may name no line; a failed job has `errors` of a message
and a count, without lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.errors import Refused

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

OF_THE_DOCUMENT = frozenset({400, 413, 422})


def of_upload(refused: Refused) -> Refused:
    """Read a refused upload. A line that is named is at fault; without one any may be, or the account."""
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused):
        return refused
    return at_fault(refused, [in_words(refused.message) or 0], divisible=True)


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read the errors of a failed job."""
    errors = job.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    found = origin.refusal(msgspec.json.encode(first), code="batch_failed")
    return at_fault(found, [in_words(found.message) or 0], divisible=not of_no_line(found))
