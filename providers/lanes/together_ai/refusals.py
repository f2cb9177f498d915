"""What Together's refusals say of lines.

Source: captures of 2026-09-02. A create validates nothing: what is wrong with a file is the `error` of its job, in
words that may name a line, and there are no codes.
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
NOT_READ = "failed to download input file"  # the file's fault, or the service's, and no line's
NO_MODEL = "unable to access"  # a model that is not served in batches, which all lines of a job have


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read the `error` of a failed job."""
    return _read(origin.refusal(msgspec.json.encode(job.get("error")), code="invalid_request"))


def of_file(origin: Origin, file: Mapping[str, Any]) -> Refused:
    """Read the report of a file that is no good."""
    report = file.get("validation_report")
    words = report.get("error") if isinstance(report, dict) else None
    return _read(origin.refusal(msgspec.json.encode(words), code="invalid_request"))


def of_upload(refused: Refused) -> Refused:
    """Read a refused upload: of a document that was looked into, one line may be the reason."""
    return _read(refused) if refused.status in OF_THE_DOCUMENT else refused


def _read(refused: Refused) -> Refused:
    words = refused.message.lower()
    if of_no_line(refused) or words.startswith((NOT_READ, NO_MODEL)):
        return refused
    number = in_words(refused.message)
    return at_fault(refused, [] if number is None else [number], divisible=True)
