"""What Google's refusals say of lines: of a file that was not taken, of a create, of a job that failed.

Source: the reference page of the Gemini API, 2026-11-29: errors are a google.rpc.Status, and lines that are no good
have errors of their own in the results. Whether a job ever fails for one line no page tells (UNVERIFIED): words that
name a line, counted from 1, are believed, and where nothing ran a part may be cut to find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.formats.gemini.answers import error_row
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

OF_THE_DOCUMENT = frozenset({400, 413, 422})
QUOTA = "RESOURCE_EXHAUSTED"


def of_status(origin: Origin, status: object, what: str) -> Refused:
    """Read the google.rpc.Status of a failed job or file; `what` stands in for a code that is not told."""
    if not isinstance(status, dict):
        return Refused("The provider gave no reason.", code=what)
    told = error_row(msgspec.json.encode(status))
    refused = origin.refusal(told.body, told.status, code=what)
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused):
        return refused
    return at_fault(refused, _named(refused), divisible=True)


def of_create(refused: Refused) -> Refused:
    """Read a refused create, which has no lines of its own: it is about one only where it names it."""
    named = _named(refused) if refused.status in OF_THE_DOCUMENT else []
    return at_fault(refused, named, divisible=True) if named and not of_no_line(refused) else refused


def _named(refused: Refused) -> list[int]:
    number = in_words(refused.message)
    return [] if number is None else [number]
