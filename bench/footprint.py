"""What a batch leaves where replicas share a database and a store: bytes a line, rows, WAL, and requests to the store.

Counted, not timed: the same on any machine, whatever else it does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from bench import report
from bench.lines import write_lines
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.object_store import moto
from tests.support.postgres import Databases, serving
from tests.support.stack import Gateway, lane
from tests.support.stand_ins import QUICK
from tests.support.store_front import OnThread, StoreFront

LINES = 20_000
JOBS = (1, 4, 16)
KINDS = (  # what the name of an object says of it, in the order in which they are made
    ("uploaded file", r"/files/../[^./]+$"),
    ("index of its lines", r"\.index$"),
    ("native document, and which lines it has", r"/split-"),
    ("results as the provider gives them", r"/stored-"),
    ("rows by ordinal", r"/rows-"),
    ("output", "output"),  # a file, too, and put behind all that are worked on
    ("ledger", r"ledger\.jsonl$"),
)
_READS = ("GET", "HEAD")
_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
_NOT_OF_BATCHES = ("schema_version", "facts", "claims", "replicas")


class Left(NamedTuple):
    """What one batch of so many jobs has left: rows by table, bytes of WAL, requests by method, bytes by kind."""

    jobs: int
    rows: Counter[str]
    wal: int
    requests: Counter[str]
    sizes: Counter[str]


class Counting(StoreFront):
    """A front that knows how many bytes each kind of object has taken."""

    def __init__(self, store: str) -> None:
        super().__init__(store)
        self.sizes: Counter[str] = Counter()
        self.uploaded = False  # what comes as a file from now on is an output

    async def passed_on(self, request: web.Request, replica: str) -> web.StreamResponse:
        """Count what is put, and pass it on. Raises aiohttp.ClientError, TimeoutError."""
        if request.method == "PUT":
            found = (kind for kind, pattern in KINDS if re.search(pattern, request.path))
            kind = next(found, "other")
            kind = "output" if self.uploaded and kind == "uploaded file" else kind
            self.sizes[kind] += request.content_length or 0
        return await super().passed_on(request, replica)


def run(home: Path, lines: int, jobs: Sequence[int] = JOBS) -> None:
    """Print the tables."""
    home.mkdir(parents=True, exist_ok=True)
    with serving() as databases:
        for command in ("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"):
            databases.ask(command)
        found = [_one(home / str(count), databases, lines, count) for count in jobs]
    last = found[min(1, len(found) - 1)]
    report.say(f"### Bytes of a line that are put into the store, {lines} lines in {last.jobs} jobs")
    sizes = [(kind, f"{last.sizes[kind] / lines:.0f}") for kind in [*dict(KINDS), "other"] if last.sizes[kind]]
    report.say(report.table(("", "bytes"), [*sizes, ("all", f"{last.sizes.total() / lines:.0f}")]))
    heads = ("", *(f"{each.jobs} jobs" for each in found))
    report.say("### Rows that are left, and WAL")
    tables = sorted({name for each in found for name, count in each.rows.items() if count})
    rows: list[tuple[object, ...]] = [(name, *(each.rows[name] for each in found)) for name in tables]
    rows += [("all", *(each.rows.total() for each in found)), ("WAL, KB", *(each.wal // 1000 for each in found))]
    report.say(report.table(heads, rows))
    report.say("### Requests to the store")
    methods = sorted({name for each in found for name in each.requests})
    counts: list[tuple[object, ...]] = [(name, *(each.requests[name] for each in found)) for name in methods]
    report.say(report.table(heads, [*counts, ("all", *(each.requests.total() for each in found))]))


def _one(home: Path, databases: Databases, lines: int, jobs: int) -> Left:
    """Run one batch from its upload to its downloaded output, on servers that nobody else uses."""
    home.mkdir()
    url = databases.fresh()
    with ExitStack() as stack:
        store = stack.enter_context(moto(home / "moto.log"))
        bucket, front = store.bucket(), Counting(store.endpoint)
        served = OnThread(front)
        options = dict(store.at(served.start()).options)
        stack.callback(served.stop)
        sandbox = stack.enter_context(Sandbox(providers=["openai"], options={"openai": QUICK["openai"]}))
        storage = {"database_url": url, "blob_url": bucket, "blob_options": options, "data_dir": str(home / "data")}
        key = lane(sandbox, max_lines_per_job=-(-lines // jobs))
        gateway = Gateway(home, {"lane": key}, sections={"storage": storage})
        stack.callback(gateway.close)
        gateway.start()
        _batch(gateway, front, 2 * jobs)  # tables and their indexes have begun by then
        before = _state(databases, url)
        front.calls.clear()
        front.sizes.clear()
        _batch(gateway, front, lines)
        after = _state(databases, url)
        requests = Counter("GET, HEAD and LIST" if each.method in _READS else each.method for each in front.calls)
        return Left(jobs, after[0] - before[0], after[1] - before[1], requests, front.sizes)


def _batch(gateway: Gateway, front: Counting, lines: int) -> None:
    path = gateway.home / "input.jsonl"
    write_lines(path, lines)
    front.uploaded = False
    file_id = gateway.upload(path.read_bytes())
    front.uploaded = True
    ended = gateway.until(gateway.create(file_id)["id"], seconds=600)
    assert ended["request_counts"]["completed"] == lines, ended
    gateway.rows(ended["output_file_id"])


def _state(databases: Databases, url: str) -> tuple[Counter[str], int]:
    """Return the rows of each table, and the bytes of WAL until now."""
    ((wal,),) = databases.ask(_WAL, url)
    counted = Counter[str]()
    for (name,) in databases.ask("SELECT relname FROM pg_stat_user_tables", url):
        if name not in _NOT_OF_BATCHES:
            ((count,),) = databases.ask(f"SELECT COUNT(*) FROM {name}", url)
            counted[str(name)] = int(str(count))
    return counted, int(str(wal))
