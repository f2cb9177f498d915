"""What the tests of all lanes share: stand-ins, lines for them, a foreign host, the accounting of an ended batch."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, every
from tests.support.accounting import code_of
from tests.support.stack import Gateway

CHAT = "/v1/chat/completions"
MODEL = "claude-haiku-4-5"  # these stand-ins take it, so one file serves all lanes
CANCELLED, EXPIRED, MISSING = "batch_cancelled", "batch_expired", "result_missing"
OUTCOMES = {CANCELLED: "cancelled", EXPIRED: "expired", MISSING: "missing", "results_expired": "missing"}
ROOM = 6  # lines of a job of the narrow virtual keys, which have one job at a time

Line = dict[str, Any]


STAND_INS = tuple(each for each in every() if each.endpoint == CHAT and each.any_model)
QUICK = {each.provider: {**each.quick, "answers": "echo"} for each in STAND_INS}


def keys(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Return the virtual keys of the tests' gateway: each lane's own, and a narrow one."""
    stands = [Stand(sandbox, each) for each in STAND_INS]
    narrow = {"max_lines_per_job": ROOM, "max_jobs_in_flight": 1}
    wide = {stand.provider: stand.key() for stand in stands}
    return wide | {f"{stand.provider}-narrow": stand.key(**narrow) for stand in stands}


@dataclass
class Stand:
    """One lane's stand-in while it runs: rules and options that concern it alone, and what it saw."""

    sandbox: Sandbox
    stand_in: StandIn

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.stand_in.provider

    def key(self, **options: Any) -> dict[str, Any]:
        """Return the settings of a virtual key that leads to the stand-in."""
        return self.stand_in.virtual_key(self.sandbox.url(self.provider), **{"settle_seconds": 0.3, **options})

    def options(self, **changes: Any) -> None:
        self.sandbox.control.options(self.provider, **changes)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self.sandbox.control.faults(rules)

    def calls(self, op: str) -> list[dict[str, Any]]:
        return [entry for entry in self.sandbox.control.requests() if entry["op"] == op]

    def jobs(self) -> list[dict[str, Any]]:
        return [job for job in self.sandbox.control.jobs() if not job["stranger"]]

    def running(self) -> bool:
        """Tell whether a job of ours is at work."""
        return any(job["status"] == "in_progress" for job in self.jobs())

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """Make a call of the provider's API, as another client of the same account."""
        url, headers = f"{self.sandbox.url(self.provider)}/{path}", dict(self.stand_in.headers(DEFAULT_KEY))
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def kept(self, ok: int, rest: int, code: str = CANCELLED) -> dict[str, int]:
        """Return what becomes of lines whose job is cancelled when `ok` of them have answers."""
        return {"ok": ok, code: rest} if self.stand_in.partial else {code: ok + rest}

    def cancel_there(self) -> None:
        """Cancel the only job, not for the gateway."""
        (job,) = self.jobs()
        self.ask("POST", f"{self.stand_in.jobs}/{job['id']}{self.stand_in.stop}")

    def cancels(self) -> list[str]:
        """Return the ids of the jobs that were asked to be cancelled, one entry a request."""
        return [str(entry["id"]) for entry in self.calls(self.stand_in.cancel)]


def chat(custom_id: str, text: str, **more: Any) -> Line:
    """Return one input line."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def chats(count: int, marker: str = "") -> list[Line]:
    """Return lines with ids and texts of their own."""
    return [chat(f"line {n}", f"Say {n} {marker}".strip()) for n in range(count)]


def text_of(row: Mapping[str, Any]) -> str:
    """Return the answer in a row."""
    assert row["response"]["status_code"] == 200
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


def read_ledger(data: Path, batch_id: str) -> list[dict[str, Any]]:
    """Return the ledger of an ended batch."""
    return [json.loads(line) for line in (data / "batches" / batch_id / "ledger.jsonl").read_bytes().splitlines()]


def check_rows(
    lines: Sequence[Line],
    output: Sequence[Mapping[str, Any]],
    error: Sequence[Mapping[str, Any]],
    ledger: Sequence[Mapping[str, Any]],
) -> dict[str, int]:
    """Every line once, in input order, answered with its own text or an error; files and ledger agree.

    Returns how many lines came to which end: `ok`, or the error's code.
    """
    order = {line["custom_id"]: n for n, line in enumerate(lines)}
    for rows in (output, error):
        places = [order[row["custom_id"]] for row in rows]
        assert places == sorted(places), "rows are not in input order"
    found = {row["custom_id"]: "ok" for row in output} | {row["custom_id"]: code_of(row) for row in error}
    assert found.keys() == order.keys()
    assert len(output) + len(error) == len(lines)
    for row in output:
        said = lines[order[row["custom_id"]]]["body"]["messages"][-1]["content"]
        assert text_of(row) == f"echo: {said}"
    assert [entry["custom_id"] for entry in ledger] == list(order)
    for entry in ledger:
        code = found[entry["custom_id"]]
        assert entry.get("code", "ok") == code
        assert entry["outcome"] == ("succeeded" if code == "ok" else OUTCOMES.get(code, entry["outcome"]))
    return {code: list(found.values()).count(code) for code in found.values()}


def account(gateway: Gateway, batch: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, int]:
    """Return how the lines of an ended batch came out, after checking its files, ledger and counts."""
    output, error = gateway.rows(batch.get("output_file_id")), gateway.rows(batch.get("error_file_id"))
    counts = {"total": len(lines), "completed": len(output), "failed": len(error)}
    assert batch["request_counts"] == counts
    return check_rows(lines, output, error, read_ledger(gateway.data, batch["id"]))


class _Note(BaseHTTPRequestHandler):
    def __getattr__(self, name: str) -> Callable[[], None]:
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._note

    def _note(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        assert isinstance(self.server, _Notes)
        self.server.seen.append((f"{self.command} {self.path}", dict(self.headers), body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        return


class _Notes(ThreadingHTTPServer):
    seen: list[tuple[str, dict[str, str], bytes]]


class Elsewhere:
    """A host that nothing should ever be sent to; `seen` has method and path, headers and body of what is."""

    def __enter__(self) -> Elsewhere:
        self._server = _Notes(("127.0.0.1", 0), _Note)
        self.seen = self._server.seen = []
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
