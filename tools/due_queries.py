"""What the engine asks a database all day, as PostgreSQL answers it: `python -m tools.due_queries` writes a page of it.

A database of 100,000 open batches is made for it, each of whose rows was changed once since the last VACUUM. Plans are
those of prepared statements, for any values: what a session that has run for a while has.
"""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from proxy_plugin.demo.postgres import Postgres
from proxy_plugin.storage import postgres, sessions
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.dialect import statement
from proxy_plugin.storage.sessions import DatabaseSession
from proxy_plugin.storage.tables import answering, batches, charges, due, parts, queues, uploads, waits, webhooks

PAGE = Path(__file__).parents[1] / "docs" / "due-queries.md"
NOW = 1_800_000_000.0
BATCHES, WORKSPACES, BUSY = 100_000, 200, 5_000
FILL = """
INSERT INTO workspaces (name, bytes) SELECT 'w' || w, 0 FROM generate_series(0, {workspaces} - 1) w;
INSERT INTO files (id, workspace, purpose, filename, bytes, sha256, created_at, state, due_at)
    SELECT 'file-' || i, 'w' || i % {workspaces}, 'batch', 'in.jsonl', 1000, '', i, 'processed',
        CASE WHEN i % 500 = 0 THEN {now} - 1 END FROM generate_series(1, {batches}) i;
INSERT INTO batches (id, workspace, caller, input_file_id, endpoint, completion_window, route, request_hash, trace_id,
        state, created_at, expires_at, due_at)
    SELECT 'batch_' || i, 'w' || i % {workspaces}, 'key', 'file-' || i, '/v1/chat/completions', '24h', '{{}}', 'h' || i,
        't', 'running', i, {now}::bigint + i, {now} + i FROM generate_series(1, {batches}) i;
INSERT INTO parts (batch_id, n, slug, provider, endpoint, partition_key, lines, bytes, sha256, mark, file, state,
        due_at, workspace, place, note)
    SELECT b.id, 0, 'lane' || b.seq % 500, 'openai', b.endpoint, '', 100, 1000, '', b.id, 'parts/0',
        CASE WHEN b.seq % 50 = 0 THEN 'planned' ELSE 'running' END,
        {now} + 1 + b.seq % 3600, b.workspace, b.seq, CASE WHEN b.seq % 50 = 0 THEN '{note}' END FROM batches b;
INSERT INTO waits (batch_id, part, slug, reason, rank, code, said, detail, since, next_at)
    SELECT batch_id, n, slug, 'no_room', 19, '', '', '', {now}, {now} FROM parts WHERE note IS NOT NULL;
INSERT INTO webhook_deliveries (id, workspace, target, batch_id, type, body, state, created_at, since, due_at)
    SELECT 'wh_' || i, 'w' || i % {workspaces}, 'we', 'batch_' || i, 'batch.completed', '', 'delivered', {now}, {now},
        CASE WHEN i % 100 = 0 THEN {now} + i % 200 - 100 END FROM generate_series(1, {batches}) i;
INSERT INTO charges (batch_id, key_hash, state, due_at)
    SELECT 'batch_' || i, 'k', 'told', CASE WHEN i % 1000 = 0 THEN {now} - 1 END FROM generate_series(1, {batches}) i;
ANALYZE;
UPDATE batches SET due_at = due_at + 1;
UPDATE parts SET due_at = due_at + 1;
UPDATE parts SET due_at = {now} - 1 WHERE n = 0 AND workspace = 'w0';
UPDATE parts SET due_at = {now} - 1 WHERE n = 0 AND place % ({batches} / {busy}) = 0;
"""
ASKED: dict[str, Callable[[Connection], object]] = {
    "what is due": lambda conn: due.rows(conn, NOW, lambda *_: 5),
    "when the next is due": lambda conn: due.next_after(conn, NOW),
    "the first that waits for room": lambda conn: queues.first(conn, "lane0"),
    "the first to be created": lambda conn: queues.first(conn, "lane0", queues.NO_TURN),
    "the first to be answered": lambda conn: answering.first(conn, 8),
    "what is in flight": lambda conn: parts.in_flight(conn, "lane0"),
    "webhooks that are due": lambda conn: webhooks.sendable(conn, NOW),
    "when the next webhook is due": lambda conn: webhooks.next_after(conn, NOW),
    "reports that are due": lambda conn: charges.due(conn, NOW, 20),
    "uploads that have expired": lambda conn: uploads.expired(conn, NOW),
    "a batch, for its status": lambda conn: batches.visible(conn, "w1", "batch_1"),
    "what it waits for": lambda conn: waits.foremost(conn, ["batch_50"]),
    "a page of batches": lambda conn: batches.page(conn, "w1", after=None, limit=20),
}


class Noting:
    """A connection that notes what is asked."""

    def __init__(self, session: DatabaseSession) -> None:
        self._session, self.noted = session, dict[str, Sequence[Any]]()

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> sessions.Rows:
        """Run one statement, and note it where it is another than those before."""
        self.noted.setdefault(sql, statement(sql).ordered(parameters))
        return self._session.tables.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sessions.Rows:
        """Nobody who asks changes many rows."""
        raise NotImplementedError(sql)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one statement was run: milliseconds (the least of several times), pages of 8 KB looked at, and the plan."""

    sql: str
    milliseconds: float
    pages: int
    root: dict[str, Any] = field(repr=False)

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Yield every step of the plan, the last one first."""
        left = [self.root]
        while left:
            node = left.pop(0)
            yield node
            left = node.get("Plans", []) + left


def fill(session: DatabaseSession, of_batches: int = BATCHES, workspaces: int = WORKSPACES, busy: int = BUSY) -> None:
    """Put rows into an empty database."""
    values = {"batches": of_batches, "workspaces": workspaces, "busy": busy, "now": f"{NOW:.0f}"}
    sessions.command(session, FILL.format(**values, note=queues.NO_ROOM))


def plans(session: DatabaseSession, ask: Callable[[Connection], object], times: int = 1) -> list[Plan]:
    """Return the plan of each statement that a question takes, for any values."""
    noting = Noting(session)
    ask(noting)
    return [_plan(session, sql, values, times) for sql, values in noting.noted.items()]


def _plan(session: DatabaseSession, sql: str, values: Sequence[Any], times: int) -> Plan:
    kinds = ", ".join(_TYPES.get(type(each), "unknown") for each in values)
    given = ", ".join(psycopg.sql.Literal(each).as_string(session) for each in values)
    text = statement(sql).text.decode()
    command = sessions.command
    command(session, "SET plan_cache_mode = force_generic_plan")
    command(session, f"PREPARE asked{f'({kinds})' if kinds else ''} AS {text}")
    run = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked{f'({given})' if given else ''}"
    try:
        found = [json.loads(command(session, run) or "")[0] for _ in range(times)]
    finally:
        command(session, "DEALLOCATE asked; RESET plan_cache_mode")
    root = found[-1]["Plan"]
    pages = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
    return Plan(sql, min(each["Execution Time"] for each in found), pages, root)


_TYPES = {int: "bigint", float: "double precision", str: "text"}


def shown(node: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Yield the lines of a plan, one a step."""
    name = " ".join(filter(None, (node["Node Type"], node.get("Index Name") or node.get("Relation Name"))))
    said = next(
        (node[each] for each in ("Index Cond", "Recheck Cond", "Filter", "One-Time Filter") if each in node), ""
    )
    rows = f"{node['Actual Rows']:g} rows" + (f" x {node['Actual Loops']:g}" if node["Actual Loops"] != 1 else "")
    yield f"{'  ' * depth}{name}: {rows}" + (f"  {said}" if said else "")
    for each in node.get("Plans", []):
        yield from shown(each, depth + 1)


def page(asked: Mapping[str, Sequence[Plan]], server: str) -> str:
    """Return the page: a table of what each question takes, and the plans."""
    told = TOLD.format(server=server, batches=f"{BATCHES:,}", workspaces=WORKSPACES, busy=f"{BUSY:,}")
    lines = [HEAD.format(told=textwrap.fill(told, 120))]
    for question, found in asked.items():
        for n, each in enumerate(found, 1):
            name = question if len(found) == 1 else f"{question} ({n} of {len(found)})"
            lines.append(f"| {name} | {each.milliseconds:.2f} | {each.pages:,} |")
    for question, found in asked.items():
        lines += ["", f"## {question[0].upper()}{question[1:]}"]
        for each in found:
            plan = "\n".join(shown(each.root))
            lines += ["", "```sql", *textwrap.wrap(each.sql, 116), "```", "", "```text", plan, "```"]
    return "\n".join(lines) + "\n"


HEAD = """# What the engine asks the database

{told}

What a question costs depends on what it returns and on the number of workspaces, never on the number of batches.

| Question, statement | ms | Pages of 8 KB |
|---|---|---|"""
TOLD = (
    "Written by `python -m tools.due_queries`: {batches} open batches of one part in {workspaces} workspaces and on 500"
    " accounts, {busy} of them due now, each row changed once since the last VACUUM; {server}. Plans are those for any"
    " values, as a session has them that has run for a while; what they took is the least of five."
)


def main() -> int:
    """Write the page."""
    with _serving() as url, closing(sessions.connect(url)) as session:
        postgres.migrate(session)
        fill(session)
        asked = {question: plans(session, ask, 5) for question, ask in ASKED.items()}
        server = session.info.parameter_status("server_version") or ""
    PAGE.write_text(page(asked, f"PostgreSQL {server.split()[0]}"))
    return 0


@contextmanager
def _serving() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="due-queries-") as folder:
        Path(folder).chmod(0o755)  # a server that root starts is another user's
        server = Postgres(Path(folder) / "server")
        try:
            yield server.start().url()
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
