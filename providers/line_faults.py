"""Which lines of a job a refusal is about, in the forms that providers give it: shared by the lanes.

at_fault     the refusal with the records that its words name, and whether single lines may be its reason
of_no_line   whether it is about the account or the service, which refuse a job whatever its lines are
"""

from __future__ import annotations

import re

from proxy_plugin.providers.errors import BadLine, Refused

# Not about lines: what the account may do and pay. Codes of OpenAI's and Azure's tables (2026-11-29), user reports.
# The words are those of 400s that Anthropic gives for want of credit or of a right, known from user reports alone
# (UNVERIFIED); a text that is missed costs bounded creates and no money.
_ACCOUNT_CODES = re.compile(r"billing|quota|credit|permission|auth|api_key|rate_limit|organi[sz]ation|limit_exceeded")
_ACCOUNT_WORDS = re.compile(
    r"\b(billing|(credit|account|insufficient|remaining|available|low) balance|insufficient funds|credits|quota"
    r"|payments? (is |are )?(required|overdue|failed|methods?)|past due|in arrears|deactivated|suspended"
    r"|usage limits?|organi[sz]ation|workspace|api key|permission|anthropic-version|anthropic-beta|header)\b",
    re.IGNORECASE,
)
_SERVICE_CODES = re.compile(r"internal|server_error|unavailable|timeout|overloaded")
_SERVICE_WORDS = re.compile(r"\b(internal (server )?error|temporar(y|ily)|unavailable|overloaded)\b", re.IGNORECASE)
# "JSONL file validation failed: line 2: ..." (xai.md). "line 1 column 9" is a place in a JSON text, no line of a file.
_IN_WORDS = re.compile(r"\b(?:line|row)(?: number| no\.?)?[ :#]{1,2}(\d{1,9})\b(?!,? *(?:col|char|\())", re.IGNORECASE)


def of_no_line(refused: Refused) -> bool:
    """Tell whether a refusal is about the account or the service.

    A 400 without a word is no validation error of a provider, but something's on the way to it.
    """
    code, message = refused.code.lower(), refused.message
    if refused.status in {400, 422} and message == refused.code:
        return True
    account = _ACCOUNT_CODES.search(code) or _ACCOUNT_WORDS.search(message)
    return bool(account or _SERVICE_CODES.search(code) or _SERVICE_WORDS.search(message))


def at_fault(refused: Refused, records: list[int], *, divisible: bool) -> Refused:
    """Return the same refusal, said of these records of the document (from 1); numbers below 1 name nothing."""
    named = (BadLine(n, refused.message, refused.code, refused.param) for n in dict.fromkeys(records) if n > 0)
    return Refused(
        refused.message,
        code=refused.code,
        status=refused.status,
        param=refused.param,
        lines=tuple(named),
        divisible=divisible,
    )


def in_words(message: str) -> int | None:
    """Return the first line number that a message names, as it is counted there."""
    found = _IN_WORDS.search(message)
    return int(found[1]) if found else None
