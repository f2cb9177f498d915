"""Every question that the tables answer is answered the same by both databases, to the types of the values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from msgspec import structs

from proxy_plugin.costs.tally import Spent
from proxy_plugin.routing.route import Route, StoredTarget, encode_route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import (
    answering,
    batches,
    charges,
    clearings,
    cuts,
    due,
    files,
    holdings,
    jobs,
    kept,
    needs,
    parts,
    provider_files,
    queues,
    rescues,
    spending,
    submissions,
    uploads,
    waits,
    webhooks,
)
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.charges import ChargeRow
from proxy_plugin.storage.tables.cuts import StoredCut
from proxy_plugin.storage.tables.kept import KeptTotal
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.provider_files import Place
from proxy_plugin.storage.tables.rescues import StoredRescue
from proxy_plugin.storage.tables.uploads import UploadPartRow, UploadRow
from proxy_plugin.storage.tables.waits import WaitRow
from proxy_plugin.storage.tables.webhooks import EndpointRow
from proxy_plugin.storage.views import figures, history, pulse
from tests.support.rows import BATCH_ID, CREATED, batch_row, file_row, part_row

NOW = float(CREATED) + 7000.5
ROUTE = encode_route(Route((StoredTarget("lane", "openai"), StoredTarget("other", "groq"))))
UPLOAD = {"workspace": "one", "purpose": "batch", "filename": "f", "mime_type": "m", "bytes": 9, "kept_seconds": 60}


PARTS: list[tuple[str, dict[str, Any]]] = [
    ("planned", {"note": queues.NO_ROOM}),
    ("running", {"job": "j", "due_at": 5.0, "accepted_at": 4.0}),
    ("creating", {"note": queues.NO_TURN, "requests": 7}),
    ("planned", {"note": queues.NO_PLACE, "way": "direct", "slug": "d"}),
    ("refused", {"rescue": StoredRescue(assignment="a\0").text(), "lines": 3, "due_at": None}),
    ("staged", {"cut": StoredCut(1, 1, 2, 3).text(), "due_at": 0.0}),
]


def in_files(conn: Connection) -> Iterator[object]:
    for n, state in enumerate(("processed", "uploaded", "error")):
        files.insert_new(conn, file_row(f"file-{n}", bytes=10 + n, state=state, due_at=NOW + n, purpose=f"p{n % 2}"), 9)
    files.insert(conn, file_row("file-old", expires_at=CREATED + 5))
    provider_files.insert(
        conn, file_row("file-2", removed_at=1), Place(slug="s", provider="p", provider_id="x"), spare_id="file-s"
    )
    yield files.stored_bytes(conn, "one"), holdings.files(conn, "one"), files.same_bytes(conn, "file-0", "file-1")
    for order in ("asc", "desc"):
        for after, purpose in ((None, None), ("file-1", None), (None, "p1"), ("file-0", "p0"), ("file-none", None)):
            yield files.page(conn, "one", now=NOW, after=after, limit=2, order=order, purpose=purpose)
    yield provider_files.place(conn, "file-s"), provider_files.slugs(conn, ["file-s", "file-0"])
    files.scanned(conn, "file-1", "processed", '{"a": "\\u0000"}')
    yield files.get(conn, "file-1"), files.hide(conn, "one", "file-0", NOW), sorted(files.removable(conn, NOW))
    yield files.mark_removed(conn, "file-0", NOW), files.mark_removed(conn, "file-0", NOW), files.kept(conn)


def in_uploads(conn: Connection) -> Iterator[object]:
    for n in range(3):
        uploads.insert(conn, UploadRow(id=f"u{n}", created_at=CREATED, expires_at=CREATED + n, **UPLOAD), 99)  # type: ignore[arg-type]
    for n in range(4):
        uploads.add_part(conn, UploadPartRow(id=f"up{n}", upload_id="u0", bytes=n, created_at=CREATED - 9), 99)
    yield uploads.expired(conn, CREATED + 1.5), uploads.visible(conn, "one", "u1"), uploads.parts(conn, "u0")
    yield (
        uploads.complete(conn, "u0", file_row("file-u"), ["up2", "up0"]),
        uploads.parts(conn, "u0"),
        uploads.kept(conn),
    )
    yield uploads.expire(conn, "u1", NOW), uploads.cancel(conn, "u2", CREATED), holdings.files(conn, "one")
    yield figures.holdings(conn)


def in_batches(conn: Connection) -> Iterator[object]:
    files.insert(conn, file_row())
    more: dict[str, Any] = {"route": ROUTE, "trace_id": "t\0", "expires_at": CREATED + 100}
    rows = [
        batch_row(BATCH_ID, **more, identity="{}", due_at=5.0),
        batch_row("b1", **more, state="validating", idempotency_key="key", request_hash="h"),
        batch_row("b2", **more, state="merging", cancelling_at=CREATED, due_at=NOW, webhook="https://a.example/x"),
        batch_row("b3", **more, state="completed", completed_at=CREATED + 50, completed=7, failed=1, workspace="two"),
    ]
    yield [batches.insert(conn, row, is_retry=False, most=99).id for row in rows]
    yield (
        batches.earlier(conn, rows[1], is_retry=False),
        batches.earlier(conn, structs.replace(rows[0], id="x"), is_retry=True),
    )
    for said in (
        {},
        {"provider": "groq"},
        {"slugs": ["lane", "x"]},
        {"provider": "openai", "slugs": ["none"]},
        {"statuses": ["cancelling", "in_progress"]},
        {"since": CREATED},
        {"statuses": ["validating"], "since": CREATED + 1, "slugs": ["lane"], "provider": "groq"},
    ):
        for after in (None, "b2", "b9"):
            page = batches.page(conn, "one", after=after, limit=3, **said)
            yield None if page is None else [row.id for row in page]
    batches.replied(conn, BATCH_ID, NOW)
    batches.postpone(conn, BATCH_ID, NOW + 1, tries=1)
    batches.deadline(conn, rows[0], NOW)
    yield batches.get(conn, BATCH_ID), batches.is_stopping(conn, BATCH_ID), batches.told(conn, BATCH_ID, "window over")
    yield batches.by_state(conn), batches.past_window(conn, NOW), sorted(batches.live_ids(conn))
    yield batches.ended(conn, ["b3", "b1"]), batches.without_files(conn, ["b3"]), batches.workspaces(conn, ["b3", "b9"])
    yield batches.trace_id(conn, "b3"), batches.visible(conn, "two", "b3")
    yield holdings.open_batches(conn, "one", 2), needs.by_slug(conn, ["lane", "other"])
    yield figures.by_status(conn, "one"), figures.by_status(conn, None), figures.hours(conn, None, NOW)


def in_parts(conn: Connection) -> Iterator[object]:
    files.insert(conn, file_row())
    batch = batches.insert(conn, batch_row(route=ROUTE), is_retry=False)
    for n, (state, more) in enumerate(PARTS):
        known = {"state": state, "mark": str(n), "due_at": NOW, "lines": n + 1} | more
        parts.insert(conn, structs.replace(part_row(BATCH_ID, **known), n=n))
    yield (
        parts.of_batch(conn, BATCH_ID),
        parts.in_flight(conn, "lane"),
        parts.by_state(conn),
        parts.all_ended(conn, BATCH_ID),
    )
    yield due.rows(conn, NOW, lambda *_: 9), due.next_after(conn, 1.0), due.overdue_polls(conn, NOW)
    for note in (queues.NO_ROOM, queues.NO_TURN, queues.NO_PLACE, queues.CALLED):
        slug = "d" if note == queues.NO_PLACE else "lane"
        yield queues.first(conn, slug, note), queues.anybody(conn, slug, note), queues.length(conn, slug, note, 9)
    yield answering.first(conn, 1), answering.others_wait(conn, _part(conn, 3), "one")
    queues.call_first(conn, "lane")
    answering.served(conn, "d", "one")
    queues.wake_firsts(conn)
    answering.wake_first(conn, 1)
    yield queues.called(conn, "lane", NOW), cuts.of_batch(conn, BATCH_ID), cuts.next_number(conn, BATCH_ID)
    yield (
        rescues.of_batches(conn, [BATCH_ID]),
        rescues.totals(conn),
        [row.n for row in cuts.family(conn, _part(conn, 5))],
    )
    yield parts.move(conn, _part(conn, 1), "ended", completed=1, failed=1, end_reason="x"), batches.get(conn, BATCH_ID)
    parts.rest(conn, _part(conn, 1), NOW + 4)
    yield (
        parts.change(conn, _part(conn, 1), tries=3, note="n"),
        sorted(figures.accounts(conn)),
        needs.by_slug(conn, ["lane"]),
    )
    batches.cancel(conn, batch, NOW)
    batches.event(conn, BATCH_ID, 1, NOW, "refused", "code")
    yield [structs.replace(each, seq=0) for each in history.of_batch(conn, BATCH_ID, 0, 99)]
    yield figures.refusals(conn, NOW - 1), pulse.with_jobs(conn, BATCH_ID)[:-1]


def _part(conn: Connection, n: int) -> PartRow:
    found = parts.get(conn, BATCH_ID, n)
    assert found is not None
    return found


def in_submissions(conn: Connection) -> Iterator[object]:
    files.insert(conn, file_row())
    batches.insert(conn, batch_row(), is_retry=False)
    parts.insert(conn, part_row(BATCH_ID, state="creating", due_at=0.0))
    part = _part(conn, 0)
    first = submissions.begin(conn, part, "account", NOW)
    yield submissions.undecided(conn, part), submissions.last_sent(conn, BATCH_ID, 0)
    first = submissions.move(conn, first, "sent", sent_at=NOW, fence="f")
    first = submissions.move(conn, first, "unknown")
    yield submissions.unresolved(conn), submissions.has_turn(conn, first, 0.0), cuts.nothing_ran(conn, part)
    first = submissions.move(conn, first, "absent", guessed=1, doubled_job="j2")
    second = submissions.move(
        conn, submissions.begin(conn, part, "account", NOW + 1), "sent", sent_at=NOW + 2, fence="f"
    )
    yield submissions.has_turn(conn, second, 0.0), submissions.fenced_at(conn, second), submissions.before(conn, second)
    second = submissions.move(conn, second, "refused", reason="retry: (quota)", ended_at=NOW + 3)
    yield submissions.refused_since(conn, part, ["quota"]), submissions.guessed(conn, part), submissions.guesses(conn)
    third = submissions.move(conn, submissions.begin(conn, part, "account", NOW + 4), "sent", sent_at=NOW + 5)
    third = submissions.move(conn, third, "accepted", job="j3", provisional=0)
    yield submissions.accepted(conn, part), submissions.jobs(conn, part), submissions.claimed(conn, ["j3", "j4"])
    yield submissions.any_accepted(conn, BATCH_ID), submissions.attempts(conn, BATCH_ID)
    clearings.begin(conn, part)
    clearings.staged(conn, part, {"k": "v"})
    clearings.keep_sealed(conn, BATCH_ID, "sealed")
    clearings.release(conn, BATCH_ID)
    yield clearings.get(conn, BATCH_ID, 0), clearings.pending(conn, [BATCH_ID]), clearings.totals(conn)
    spent = Spent(
        part=0, model="m\0", lines=2, unpriced=0, input_tokens=3, output_tokens=4, cached_tokens=0, reasoning_tokens=0
    )
    spending.insert(conn, BATCH_ID, [spent, structs.replace(spent, model="n", cost=0.1 + 0.2)])
    for _ in range(2):
        spending.add_up(conn, "one", "lane", structs.replace(spent, cost=0.1))
        kept.add_up(conn, KeptTotal(workspace="one", hits=1, misses=2, bytes=2**40))
    yield (
        [each for each in spending.of_batch(conn, BATCH_ID) if each.model == "n"],
        spending.totals(conn),
        kept.totals(conn),
    )
    yield [(job.part, job.submissions, len(job.spent)) for job in jobs.of_batches(conn, [BATCH_ID])[BATCH_ID]]


def in_charges_and_waits(conn: Connection) -> Iterator[object]:
    files.insert(conn, file_row())
    for n in range(3):
        batches.insert(conn, batch_row(f"b{n}"), is_retry=False)
        charges.insert(conn, ChargeRow(batch_id=f"b{n}", key_hash="k", team_id="t", tokens=5, cost=0.25))
    charges.ended(conn, "b1", "{}", 0.5, NOW)
    charges.close(conn, "b2")
    yield charges.held(conn, "b9", "k"), charges.held(conn, "b0", "none"), charges.held_by_team(conn, "b0", "t")
    charges.later(conn, "b1", NOW + 2)
    yield charges.due(conn, NOW + 3, 9), charges.next_due(conn), charges.get(conn, "b2")
    for reason, since in ((waits.NO_ROOM, 5.0), (waits.DISK_FULL, 6.0)):
        row = WaitRow(batch_id="b0", part=waits.WHOLE if since > 5 else 0, reason=reason, since=since, next_at=NOW)
        yield waits.note(conn, row)
    waits.wake_full(conn, 9)
    yield waits.foremost(conn, ["b0", "b1"]), waits.of_batch(conn, "b0"), sorted(waits.totals(conn))
    yield pulse.of_batches(conn, "one", ["b0", "b9"])


def in_webhooks(conn: Connection) -> Iterator[object]:
    files.insert(conn, file_row())
    batches.insert(conn, batch_row(total=10, completed=4, webhook="https://x.example/y"), is_retry=False)
    known = {"source": webhooks.CONFIG, "name": "", "url": "https://e.example", "created_at": 1, "updated_at": 1}
    row = EndpointRow(id="we", workspace="one", event_types='["batch.completed", "batch.progress"]', **known)  # type: ignore[arg-type]
    webhooks.configured(conn, [row], NOW)
    webhooks.book_progress(conn, BATCH_ID, NOW)
    webhooks.book(conn, BATCH_ID, "batch.completed", NOW)
    told = [each for rows in webhooks.sendable(conn, NOW) for each in rows]
    yield [(each.target, each.type, each.due_at, each.created_at) for each in told], webhooks.next_after(conn, 5.0)
    webhooks.not_delivered(conn, told[0], 500, "no", NOW, NOW + 9)
    webhooks.hold(conn, "we", NOW + 99, NOW + 100)
    for said in ({}, {"endpoint_id": "we"}, {"batch_id": BATCH_ID}, {"endpoint_id": "none"}):
        found = webhooks.deliveries(conn, "one", 9, **said)
        yield [(each.state, each.due_at, each.tries, each.status, each.error) for each in found]
    yield len(webhooks.deliveries(conn, "one", 9, after=webhooks.deliveries(conn, "one", 9)[0].id))
    yield (
        webhooks.rotate(conn, "we", NOW, 60.0),
        webhooks.rotate(conn, "we", NOW, 60.0),
        webhooks.generation(conn, "we", NOW),
    )
    yield webhooks.endpoint(conn, "we"), webhooks.endpoints(conn, "one"), webhooks.insert(conn, row, 0)


def plain(answer: object) -> str:
    """Return an answer as a text. SQLite has U+0000, and gives whole numbers of a column of others behind RETURNING."""
    return re.sub(r"(?<=\d)\.0\b", "", str(said(answer)).replace("\\\\x00", "\ufffd"))


def said(answer: Any) -> object:
    """Return an answer with the types of its values; nobody asks for an order in a set or a dictionary."""
    if isinstance(answer, dict):
        return sorted((repr(name), said(value)) for name, value in answer.items())
    if isinstance(answer, set | frozenset):
        return sorted(map(repr, answer))
    return [said(each) for each in answer] if type(answer) in (list, tuple) else repr(answer)


SCENES = (in_files, in_uploads, in_batches, in_parts, in_submissions, in_charges_and_waits, in_webhooks)


def test_both_databases_say_the_same(both: tuple[Connection, Connection]) -> None:
    one, other = both
    for scene in SCENES:
        one.execute("SAVEPOINT scene")
        other.execute("SAVEPOINT scene")
        for n, (here, there) in enumerate(zip_longest(scene(one), scene(other))):
            assert plain(here) == plain(there), f"{scene.__name__}, answer {n}"
        one.execute("ROLLBACK TO scene")
        other.execute("ROLLBACK TO scene")


def test_a_row_that_was_written_is_read_as_it_was(empty: Connection) -> None:
    row: BatchRow = batch_row("b", state="running", metadata='{"a": "é\\u0000"}', replied_at=1.1 + 2.2, total=2**40)
    files.insert(empty, file_row())
    batches.insert(empty, row, is_retry=False)
    assert batches.get(empty, "b") == row
