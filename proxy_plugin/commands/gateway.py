"""What a command asks of a gateway, ours or a hosted one of Portkey's.

Ours has routes and fields that others lack. Where one is missing the command does without it or says so in a sentence;
nothing is ever sent twice to a gateway of which it is not known that it honours `Idempotency-Key`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from proxy_plugin.commands.connection import LONG_SECONDS, Transport
from proxy_plugin.commands.input_file import FileForm
from proxy_plugin.commands.problems import CommandError, Declined, Refused, Unreachable
from proxy_plugin.commands.wording import JSON, objects

ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
PAGE = 100  # the most that "List batches" gives at once
RETRY_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between tries of a create whose answer was lost
IDEMPOTENCY_KEY = "Idempotency-Key"
_ACCOUNT_CODES = ("invalid_virtual_key", "virtual_key_")
_NO_ROUTE = (404, 405)
_ANONYMOUS = ((None, None), (None, "not_found"))
_NOT_OURS = "it is not a proxy-plugin gateway, or an older one"


class Remote:
    """The Files and Batches routes as calls. All raise Unreachable and Refused."""

    def __init__(self, transport: Transport, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.ours: bool | None = None  # not known
        self._transport = transport
        self._shows_jobs = True
        self._sleep = sleep

    def probe(self) -> None:
        """Ask for a plan of nothing, which costs nothing anywhere, before a long upload.

        It tells whether the gateway is one of ours. Raises Refused for a key or a virtual key that the create would be
        refused for too.
        """
        try:
            self._transport.call("POST", "/batches/plan", {})
        except Refused as refusal:
            header = (refusal.param or "").startswith("x-portkey-")
            self.ours = refusal.status == 400 and (header or refusal.param == "input_file_id")
            if header or refusal.status in (401, 403) or (refusal.error_code or "").startswith(_ACCOUNT_CODES):
                raise
        else:
            self.ours = False

    def upload(self, form: FileForm, sent: Callable[[int], None]) -> str:
        """Upload a batch file and return its id."""
        return _id(self._transport.upload("/files", form, sent))

    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        self._transport.call("DELETE", f"/files/{quoted(file_id)}")

    def plan(self, body: JSON) -> JSON:
        """Return what a create would do. Raises Declined where `probe` found no such route."""
        if self.ours is False:
            raise Declined(f"this gateway cannot plan a batch: {_NOT_OURS}.")
        return self._transport.call("POST", "/batches/plan", body, seconds=LONG_SECONDS)

    def create(self, body: JSON, key: str) -> JSON:
        """Create a batch once. An answer that is lost is asked for again with the same key, if the gateway is ours."""
        return self._once("/batches", body, key, lambda: self._made_of(body["input_file_id"]))

    def retry(self, batch_id: str, key: str, lines: list[int] | list[str]) -> JSON:
        """Create a batch of some lines of one, once: by number, by outcome, or all that failed."""
        route = f"/batches/{quoted(batch_id)}/retry"
        try:
            return self._once(route, {"lines": lines} if lines else {}, key, lambda: None)
        except Refused as refusal:
            raise self._lacks(refusal, batch_id, "retry the failed lines of a batch") from None

    def batch(self, batch_id: str) -> JSON:
        """Return a batch, with its jobs if the gateway tells of them."""
        path = f"/batches/{quoted(batch_id)}"
        if self._shows_jobs:
            try:
                found = _batch(self._transport.call("GET", f"{path}?include=jobs"))
            except Refused as refusal:
                if refusal.status not in (400, *_NO_ROUTE):
                    raise
            else:
                self.ours = self.ours or "jobs" in found
                return found
        found = _batch(self._transport.call("GET", path))
        self._shows_jobs = False
        return found

    def batches(self, limit: int | None, *, with_jobs: bool = False) -> Iterator[JSON]:
        """Yield batches, newest first, page by page; with their jobs if the gateway tells of them."""
        query, begun = {"include": "jobs"} if with_jobs and self._shows_jobs else {}, False
        try:
            for batch in self.pages("/batches", limit, query):
                begun = True
                yield _batch(batch)
        except Refused as refusal:
            if not query or begun or refusal.status not in (400, *_NO_ROUTE):
                raise
            self._shows_jobs = False
            yield from self.batches(limit)

    def pages(self, path: str, limit: int | None, query: Mapping[str, str], page: int = PAGE) -> Iterator[JSON]:
        """Yield the objects of a list, page by page."""
        left, after = limit, None
        while left is None or left > 0:
            size = {"limit": str(min(page, page if left is None else left))}
            asked = size | dict(query) | ({"after": after} if after else {})
            answer = self._transport.call("GET", f"{path}?{urlencode(asked)}")
            found = objects(answer.get("data"))
            yield from found[:left]
            left = None if left is None else left - len(found)
            if answer.get("has_more") is not True or not found or found[-1].get("id") in (None, after):
                return
            after = found[-1]["id"]

    def call(self, method: str, path: str, body: object = None) -> JSON:
        """Make one call and return the object that it answers."""
        return self._transport.call(method, path, body)

    def content(self, file_id: str) -> Iterator[bytes]:
        """Yield the bytes of a file in blocks."""
        return self._transport.download(f"/files/{quoted(file_id)}/content")

    def needs(self, route: str, refusal: Refused) -> CommandError:
        """Return what a refusal of a route means that only newer gateways of ours have."""
        missing = refusal.status in _NO_ROUTE and (refusal.param, refusal.error_code) in _ANONYMOUS
        return Declined(f"this gateway has no {route}: {_NOT_OURS}.") if missing else refusal

    def cancel(self, batch_id: str) -> JSON:
        """Ask for a batch to be cancelled."""
        return _batch(self._transport.call("POST", f"/batches/{quoted(batch_id)}/cancel", {}))

    def lines(self, batch_id: str, query: list[tuple[str, str]]) -> Iterator[bytes]:
        """Yield blocks of the ledger, as JSON lines."""
        asked = f"?{urlencode(query)}" if query else ""
        try:
            yield from self._transport.download(f"/batches/{quoted(batch_id)}/lines{asked}")
        except Refused as refusal:
            raise self._lacks(refusal, batch_id, "show the lines of a batch") from None

    def output(self, batch_id: str) -> Iterator[bytes]:
        """Yield blocks of all rows; of the output and the error file where there is no route for both."""
        try:
            yield from self._transport.download(f"/batches/{quoted(batch_id)}/output")
        except Refused as refusal:
            if refusal.status not in (400, *_NO_ROUTE):
                raise
        else:
            return
        batch = self.batch(batch_id)
        files = [batch[name] for name in ("output_file_id", "error_file_id") if batch.get(name)]
        if not files:
            raise CommandError(f"the batch has no output: its status is {batch.get('status')}.")
        yield from self._contents(files)

    def _contents(self, files: list[str]) -> Iterator[bytes]:
        for file_id in files:
            last = b"\n"
            for block in self._transport.download(f"/files/{quoted(file_id)}/content"):
                yield block
                last = block
            if not last.endswith(b"\n"):  # two files become one
                yield b"\n"

    def _once(self, path: str, body: JSON, key: str, look_up: Callable[[], JSON | None]) -> JSON:
        for pause in RETRY_PAUSES:
            try:
                return _batch(self._transport.call("POST", path, body, headers={IDEMPOTENCY_KEY: key}))
            except Unreachable as lost:
                if lost.sent and not self.ours:
                    return self._looked_up(look_up)
            except Refused as refusal:
                if not (refusal.passing and self.ours):
                    raise
            self._sleep(pause)
        return _batch(self._transport.call("POST", path, body, headers={IDEMPOTENCY_KEY: key}))

    def _looked_up(self, look_up: Callable[[], JSON | None]) -> JSON:
        """Find a batch whose create was not answered, where a second create could make a second batch."""
        for pause in RETRY_PAUSES:
            self._sleep(pause)
            try:
                found = look_up()
            except (Unreachable, Refused):
                continue  # to look costs nothing
            if found is not None:
                return found
            break
        raise Unreachable(
            "the answer to the create was lost and this gateway promises nothing for a second one: whether there is a "
            "batch is not known; look with `proxy-plugin batch list`.",
            sent=True,
        )

    def _made_of(self, file_id: str) -> JSON | None:
        return next((one for one in self.batches(PAGE) if one.get("input_file_id") == file_id), None)

    def _lacks(self, refusal: Refused, batch_id: str, what: str) -> CommandError:
        """Return what a refusal means: a route that is missing, or the refusal itself. Raises Refused for no batch."""
        anonymous = refusal.status == 400 and refusal.error_code is None and refusal.param is None
        if refusal.status not in _NO_ROUTE and not anonymous:
            return refusal
        try:
            self.batch(batch_id)
        except Refused as unknown:
            if unknown.status in (401, 403, 404):
                raise
        return refusal if self.ours and refusal.status == 400 else Declined(f"this gateway cannot {what}: {_NOT_OURS}.")


def quoted(text: str) -> str:
    """Return an id as one step of a path."""
    return quote(text, safe="")


def _id(answer: Mapping[str, Any]) -> str:
    found = answer.get("id")
    if not isinstance(found, str):
        raise Unreachable("the gateway answered with an object that has no id: check --base-url.", sent=True)
    return found


def _batch(answer: JSON) -> JSON:
    _id(answer)
    return answer
