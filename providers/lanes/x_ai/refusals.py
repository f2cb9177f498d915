"""What xAI's refusals say of lines.

Source: the project's reference page, captures of 2026-08-28: a file with a malformed line or an unsupported model is
taken, and its batch is cancelled by xAI with a message such as "JSONL file validation failed: line 2: ...".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

BY_XAI = "cancel_by_xai_message"


def of_job(origin: Origin, job: Mapping[str, Any]) -> Refused:
    """Read why xAI has cancelled a batch itself."""
    found = origin.refusal(msgspec.json.encode({"message": job.get(BY_XAI)}), code="batch_failed")
    return at_fault(found, [in_words(found.message) or 0], divisible=not of_no_line(found))
