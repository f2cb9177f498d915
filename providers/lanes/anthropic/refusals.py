"""What Anthropic's refusals of a create say of lines.

Source: "Limits" of the reference page: what is wrong with the envelope of one request, its `custom_id` or a field that
a batch does not take, is a 400 for the whole job at once, seen live 2026-09-02. It names the place as validators do,
`requests.3.params.stream: ...`, counted from 0. A body that is no JSON for them, such as one with half a character,
names a place in the document and no request (UNVERIFIED: user reports alone).
"""

from __future__ import annotations

import re

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.line_faults import at_fault, of_no_line

OF_THE_DOCUMENT = frozenset({400, 413, 422})
_PLACE = re.compile(r"(?:^|[;,:\n] *)(?:body\.)?requests(?:\.|\[)(\d{1,6})(?=[.\]:])")


def of_create(refused: Refused) -> Refused:
    """Read a refused create. A request that is named is at fault; without one any may be, or the account."""
    if refused.status not in OF_THE_DOCUMENT:
        return refused
    named = [int(place) + 1 for place in _PLACE.findall(refused.message)]
    if not named and of_no_line(refused):
        return refused
    return at_fault(refused, named, divisible=True)
