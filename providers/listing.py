"""A provider's list of jobs or files, newest first: read page by page, down to a fence where there is one."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proxy_plugin.providers.calls import patiently
from proxy_plugin.providers.errors import Refused, TryLater

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

MOST_PAGES = 100
LISTING_SLACK = 60.0  # seconds: many machines give the times, so a job made after the fence may be listed just below it
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
    cursor: str | None  # the name of the next page, where pages have names
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """How a provider shows a list. `created` reads `created_at` as Unix seconds; None: a list that makes no sense."""

    path: str
    limit: int | None  # of the records of a page; None: it cannot be chosen
    after: str  # the parameter that names the record behind which a page begins, or the page
    created: Callable[[object], float | None]
    params: Mapping[str, str] = field(default_factory=dict)
    newest_first: bool = True  # does a page say so? Without it times alone tell what is older than a fence
    paging: tuple[str, ...] = ()  # the path to the next page's name in an answer; (): pages have none

    async def newest(self, origin: Origin) -> Page:
        """Return the head of the list: one record, or none."""
        return await self._page(origin, 1, {})

    async def pages(self, origin: Origin) -> AsyncIterator[Page]:
        """Yield the list page by page. Raises Refused when it does not end, TryLater when it cannot be understood."""
        cursor: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await self._page(origin, self.limit or 0, cursor)
            yield page
            if not page.more or not page.records:
                return
            cursor = {self.after: page.cursor or page.records[-1].id}
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

    async def _page(self, origin: Origin, limit: int, cursor: Mapping[str, str]) -> Page:
        params = {**self.params, **({} if self.limit is None else {"limit": str(limit)}), **cursor}
        reply = await patiently(lambda: origin.request("GET", self.path, params=params))
        bare, fields = isinstance(reply.json, list), reply.fields()
        if isinstance(fields.get("data"), dict):  # the list is wrapped in another object
            fields = fields["data"]
        data, more = reply.json if bare else fields.get("data"), fields.get("has_more")
        if not isinstance(data, list):
            raise TryLater("a list without usable records")
        following = self._following(reply.fields())
        if bare or self.paging:
            more = bool(following)
        elif not isinstance(more, bool):
            more = 0 < limit <= len(data)
        return Page(tuple(map(self._listed, data)), more, following, reply.headers)

    def _following(self, found: Any) -> str | None:
        if not self.paging:
            return None
        for name in self.paging:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, str) and found else None

    def _listed(self, record: object) -> Listed:
        """A record that cannot be understood makes the list unreadable: it would look like one that is not there."""
        fields = record if isinstance(record, dict) else {}
        name, created = identifier(fields), self.created(fields.get("created_at"))
        if name is None or created is None:
            raise TryLater("a list without usable records")
        return Listed(name, created, fields)
