"""Lists whose pages are not continued behind their last record: numbered pages, or pages that name the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_plugin.providers.calls import patiently
from proxy_plugin.providers.errors import Refused, TryLater
from proxy_plugin.providers.listing import MOST_PAGES, Listed, Listing, Page, identifier

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin


@dataclass(frozen=True, slots=True)
class PagedListing(Listing):
    """A list; `after` is the parameter that says which page is meant."""

    size: str = "limit"  # the parameter that bounds a page
    token: str = ""  # the member of an answer that names the next page; "": pages are numbered from 0
    records: str = "data"  # the member with the records
    name: str = "id"  # their own ids and times
    when: str = "created_at"

    async def newest(self, origin: Origin) -> Page:
        """Return the head of the list: one record, or none."""
        return (await self._at(origin, 1, None))[0]

    async def pages(self, origin: Origin) -> AsyncIterator[Page]:
        """Yield the list page by page. Raises Refused when it does not end, TryLater when it cannot be understood."""
        place: str | None = None
        for number in range(MOST_PAGES):
            page, token = await self._at(origin, self.limit, place)
            yield page
            place = token if self.token else str(number + 1)
            if place is None or (not self.token and len(page.records) < self.limit):
                return
        raise Refused("the list is too long to be read", code="list_too_long")

    async def _at(self, origin: Origin, limit: int, place: str | None) -> tuple[Page, str | None]:
        params = {**self.params, self.size: str(limit), **({} if place is None else {self.after: place})}
        reply = await patiently(lambda: origin.request("GET", self.path, params=params))
        fields = reply.fields()
        token, data = fields.get(self.token), fields.get(self.records)
        if not isinstance(data, list):
            raise TryLater("a list without usable records")
        found = tuple(map(self._named, data))
        return Page(found, bool(token), reply.headers), token if isinstance(token, str) and token else None

    def _named(self, record: object) -> Listed:
        """A record that cannot be understood makes the list unreadable: it would look like one that is not there."""
        fields = record if isinstance(record, dict) else {}
        name, created = identifier(fields, self.name), self.created(fields.get(self.when))
        if name is None or created is None:
            raise TryLater("a list without usable records")
        return Listed(name, created, fields)
