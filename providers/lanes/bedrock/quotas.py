"""The fewest records of a job, as Service Quotas tells it: a quota of each model, where the account may read it.

Source: the project's reference page, section 5: "Minimum number of records per batch inference job for {model}", by a
model's title and not its id. A title is known by its words ("Claude Haiku 4.5" is anthropic.claude-haiku-4-5-...); one
that is not, and a list that may not be read, tell nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping

import msgspec

from proxy_plugin.providers.base import Account, ProviderError, Refused
from proxy_plugin.providers.lanes.bedrock.accounts import of, quotas_of
from proxy_plugin.providers.lanes.bedrock.refusals import MORE_LINES, TOO_FEW

ASKED_BELOW = 1000  # lines; no model is known to want more
KEPT = 3600.0  # seconds
MOST_PAGES, MOST_KEPT = 40, 1000
ROOT = "/"
_HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "ServiceQuotasV20190624.ListServiceQuotas"}
_NAME = re.compile(r"Minimum number of records per batch inference job for (.+)")
_WORD = re.compile(r"[a-z]+|\d+")
_VERSION = re.compile(r"-20\d{6}(?=-)|[- ]v1(:\d+)?$|:\d+$")
_kept: dict[tuple[str, str], tuple[float, Mapping[str, int]]] = {}  # by account: when it was read


class _Quota(msgspec.Struct):
    QuotaName: str = ""
    Value: float = 0.0


class _Page(msgspec.Struct):
    Quotas: list[_Quota] = []
    NextToken: str | None = None


async def check(account: Account, model: str, lines: int) -> None:
    """Raise Refused for a job that the account's quota would not let run."""
    if lines >= ASKED_BELOW or not of(account).reads_quotas():
        return
    least = (await _quotas(account)).get(words_of(model))
    if least is not None and lines < least:
        message = f"This account's quota for {model} is {least} records a job at least, and this one has {lines}. "
        raise Refused(message + MORE_LINES, code=TOO_FEW)


def words_of(model: str) -> str:
    """Return the words of an id, or of a title, in an order of their own; whose model it is does not count."""
    name = model.rpartition("/")[2].lower()
    name = name.rpartition(".")[2] if "." in name and " " not in name else name
    return " ".join(sorted(set(_WORD.findall(_VERSION.sub("", name)))))


async def _quotas(account: Account) -> Mapping[str, int]:
    place, now = (account.slug, account.fingerprint), time.monotonic()
    at, found = _kept.get(place, (now - KEPT, {}))
    if now - at >= KEPT:
        try:
            found = {title: least async for title, least in _read(account)}
        except (ProviderError, ValueError):  # it may not be read
            found = {}
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[place] = now, found
    return found


async def _read(account: Account) -> AsyncIterator[tuple[str, int]]:
    origin, asked = quotas_of(account), dict[str, object](ServiceCode="bedrock", MaxResults=100)
    for _ in range(MOST_PAGES):
        answer = await origin.text("POST", ROOT, body=msgspec.json.encode(asked), headers=_HEADERS)
        page = msgspec.json.decode(answer, type=_Page)
        for each in page.Quotas:
            if title := _NAME.fullmatch(each.QuotaName):
                yield words_of(title[1]), int(each.Value)
        if not page.NextToken:
            return
        asked = {**asked, "NextToken": page.NextToken}
