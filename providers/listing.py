"""A provider's list of jobs or files, newest first: read page by page, down to a fence where there is one."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.calls import patiently
from proxy_plugin.providers.errors import Refused, TryLater

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

MOST_PAGES = 100
LISTING_SLACK = 60.0  # seconds: many machines give the times, so a job made after the fence may be listed just below it
PROVEN = 10  # records, newest first, after which a list is taken for one that is, where no page says so
MILLISECONDS = 1e11  # as seconds these are in the year 5138, as milliseconds in 1973
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,255}")


def identifier(record: Mapping[str, Any], name: str = "id") -> str | None:
    """Return a record's id if it can stand in a path."""
    found = record.get(name)
    return found if isinstance(found, str) and IDENTIFIER.fullmatch(found) else None


def unix_seconds(created: object) -> float:
    """Read a whole number of seconds; 0.0 for anything else."""
    return float(created) if isinstance(created, int) else 0.0


def moment(created: object) -> float:
    """Read a time in any form: Unix seconds or milliseconds, as text too, or RFC 3339; 0.0 for anything else."""
    if isinstance(created, str):
        created = float(created) if created.isascii() and created.isdigit() else rfc_3339(created)
    if isinstance(created, bool) or not isinstance(created, int | float):
        return 0.0
    return created / 1000 if created > MILLISECONDS else float(created)


def rfc_3339(created: object) -> float | None:
    """Read a time such as 2026-11-29T12:00:00Z as Unix seconds; None for anything else."""
    try:
        time = datetime.fromisoformat(created if isinstance(created, str) else "")
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def passed(times: Sequence[float], fence: float) -> bool:
    """Tell whether a list has come past a time, by the records seen: of one in another order more must be read."""
    descends = len(times) >= PROVEN and all(later >= earlier for later, earlier in pairwise(times))
    return descends and times[0] > times[-1] and times[-1] < fence - LISTING_SLACK


@dataclass(frozen=True, slots=True)
class Listed:
    """A record of a list. `created` is in Unix seconds, 0.0 where the list does not tell."""

    id: str
    created: float
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `headers` are those of its answer."""

    records: tuple[Listed, ...]
    more: bool
    after: str  # what the next page is asked for with
    headers: Mapping[str, str] = field(repr=False)


Read = Callable[[Mapping[str, Any]], tuple[str | None, object]]


def named(name: str, when: str) -> Read:
    """Return what reads id and time of a record from these members."""
    return lambda record: (identifier(record, name), record.get(when))


USUAL = named("id", "created_at")


@dataclass(frozen=True, slots=True)
class Listing:
    """How a provider shows a list. `created` reads a time as Unix seconds; None: a list that makes no sense."""

    path: str
    limit: int | None  # of the records of a page; None: it cannot be chosen
    after: str  # the parameter that names the record behind which a page begins, or the page
    created: Callable[[object], float | None]
    params: Mapping[str, str] = field(default_factory=dict)
    newest_first: bool = True  # does a page say so? Without it times alone tell what is older than a fence
    size: str = "limit"  # the parameter that bounds a page
    records: str = "data"  # the member of an answer that holds them
    others: tuple[str, ...] = ()  # further names of that member
    omits_empty: bool = False  # has an answer without records no such member?
    paging: tuple[str, ...] = ()  # the path to the next page's name in an answer; (): pages have none
    numbered: bool = False  # are pages asked for by their number, from 0?
    read: Read = USUAL  # id and time of a record

    async def newest(self, origin: Origin) -> Page:
        """Return the head of the list: one record, or none."""
        return await self._page(origin, 1, {})

    async def pages(self, origin: Origin) -> AsyncIterator[Page]:
        """Yield the list page by page. Raises Refused when it does not end, TryLater when it cannot be understood."""
        cursor: dict[str, str] = {}
        for number in range(MOST_PAGES):
            page = await self._page(origin, self.limit or 0, cursor)
            yield page
            if not page.more or not (page.records or self.paging):
                return
            cursor = {self.after: str(number + 1) if self.numbered else page.after}
        raise Refused("the list is too long to be read", code="list_too_long")

    async def since(self, origin: Origin, fence: str | None, created: float = 0.0) -> AsyncIterator[Page]:
        """Yield the records since the fence, which is among them, and those of the minute before it.

        `created` is the fence's own time; 0.0: it is read where the fence is listed.
        """
        edge = created and created - LISTING_SLACK
        async for page in self.pages(origin):
            for number, record in enumerate(page.records):
                if edge and record.created < edge:
                    yield replace(page, records=page.records[:number])
                    return
                if record.id == fence and (record.created or self.newest_first):
                    edge = record.created - LISTING_SLACK if record.created else math.inf
            yield page

    async def past(self, origin: Origin, created: float) -> AsyncIterator[Page]:
        """Yield a list in whatever order it comes: to its end, or until it is seen to have come past a time."""
        seen = list[float]()
        async for page in self.pages(origin):
            yield page
            seen += [record.created for record in page.records]
            if created and passed(seen, created):
                return

    async def _page(self, origin: Origin, limit: int, cursor: Mapping[str, str]) -> Page:
        params = {**self.params, **({} if self.limit is None else {self.size: str(limit)}), **cursor}
        reply = await patiently(lambda: origin.request("GET", self.path, params=params))
        fields, bare = reply.fields(), isinstance(reply.json, list)
        if isinstance(fields.get(self.records), dict):  # the list is wrapped in another object
            fields = fields[self.records]
        data = reply.json if bare else self._records(fields)
        if not isinstance(data, list):
            raise TryLater("a list without usable records")
        records = tuple(map(self._listed, data))
        if bare or self.paging:
            after = self._following(fields)
            return Page(records, bool(after), after, reply.headers)
        more = fields.get("has_more")
        more = more if isinstance(more, bool) and not self.numbered else 0 < limit <= len(data)
        return Page(records, more, records[-1].id if records else "", reply.headers)

    def _records(self, fields: Mapping[str, Any]) -> Any:
        found = (fields[name] for name in (self.records, *self.others) if name in fields)
        return next(found, [] if self.omits_empty else None)

    def _following(self, found: Any) -> str:
        for name in self.paging:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, str) and self.paging else ""

    def _listed(self, record: object) -> Listed:
        """A record that cannot be understood makes the list unreadable: it would look like one that is not there."""
        fields = record if isinstance(record, dict) else {}
        name, time = self.read(fields)
        created = self.created(time)
        if name is None or created is None:
            raise TryLater("a list without usable records")
        return Listed(name, created, fields)
