"""One line for which a provider refuses a whole job costs that line alone, and few creates."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from tests.support.accounting import code_of
from tests.support.waiting import until
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import Line, Stand, chat, chats, check_rows, read_ledger

NAMED, SILENT = "[[sandbox:poison]]", "[[sandbox:poison=silent]]"
COUNT, MOST = 40, 20
ANSWERED = {"code": "400"}  # the ledger has the provider's word where the row has its status
STATUS = {"invalid_request_error": ANSWERED, "INVALID_ARGUMENT": ANSWERED, "http_422": {"code": "422"}}


def poisoned(count: int, bad: Collection[int], marker: str) -> list[Line]:
    """Return lines of which some are not taken by any provider."""
    return [chat(f"line {n}", f"Say {n} {marker if n in bad else ''}".strip()) for n in range(count)]


def _lines_are_named(stand: Stand) -> None:
    if not stand.stand_in.names_lines:
        pytest.skip("the numbers of lines that a refusal names are not believed")


def refused(gateway: Client, batch: dict[str, Any], lines: Sequence[Line]) -> dict[int, str]:
    """Return what is said of each line of an ended batch that was not answered, after checking all its rows."""
    output, error = gateway.rows(batch.get("output_file_id")), gateway.rows(batch.get("error_file_id"))
    assert batch["request_counts"] == {"total": len(lines), "completed": len(output), "failed": len(error)}
    ledger = read_ledger(gateway.data, batch["id"])
    check_rows(lines, output, error, [{**entry, **STATUS.get(entry.get("code", ""), {})} for entry in ledger])
    return {int(row["custom_id"].split()[1]): message_of(row) for row in error}


def message_of(row: dict[str, Any]) -> str:
    error = row["error"] or row["response"]["body"]["error"]
    assert code_of(row) in {"invalid_request", "400", "422", "batch_failed"}
    return str(error["message"])


def creates(stand: Stand) -> int:
    return len(stand.calls(stand.stand_in.judges))


def paid(stand: Stand) -> int:
    return sum(job["lines_run"] for job in stand.jobs())


BAD = {
    "first": {0},
    "last": {COUNT - 1},
    "middle": {17},
    "two": {3, 29},
    "neighbours": {19, 20},
    "twenty": set(range(0, COUNT, 2)),
}


@pytest.mark.parametrize("where", BAD)
def test_a_line_that_the_provider_names_is_taken_out_and_the_rest_sent_again(
    where: str, stand: Stand, gateway: Client
) -> None:
    _lines_are_named(stand)
    bad = BAD[where]
    lines = poisoned(COUNT, bad, NAMED)
    batch = gateway.run(lines, stand.provider)
    said = refused(gateway, batch, lines)
    assert (batch["status"], set(said)) == ("completed", bad)
    for n, message in said.items():
        assert message.startswith(f"line {n + 1} of the file: ")
        assert "This line is not taken." in message
    assert (creates(stand), paid(stand)) == (len(bad) + 1, COUNT - len(bad))


@pytest.mark.parametrize("where", BAD)
def test_a_line_that_nobody_names_is_found_by_halving(where: str, stand: Stand, gateway: Client) -> None:
    bad = BAD[where]
    lines = poisoned(COUNT, bad, SILENT)
    batch = gateway.run(lines, stand.provider)
    said = refused(gateway, batch, lines)
    assert (batch["status"], set(said)) == ("completed", bad)
    assert all(message.startswith(f"line {n + 1} of the file: ") for n, message in said.items())
    assert all("This line is not taken." in message for message in said.values())
    assert creates(stand) <= 1 + 2 * math.ceil(math.log2(COUNT)) * len(bad)
    assert paid(stand) == COUNT - len(bad)


def test_behind_twenty_named_lines_the_rest_is_refused(stand: Stand, gateway: Client) -> None:
    _lines_are_named(stand)
    bad = set(range(5, 5 + MOST + 1))
    lines = poisoned(COUNT, bad, NAMED)
    batch = gateway.run(lines, stand.provider)
    said = refused(gateway, batch, lines)
    assert said.keys() == set(range(COUNT))
    assert (creates(stand), paid(stand)) == (MOST + 1, 0)
    assert [n for n, message in said.items() if "leaves it out" in message] == sorted(bad)[:MOST]
    assert all("line 26 of the file: " in said[n] and "More than 20 lines" in said[n] for n in (0, 25, 30))
    assert batch["status"] == "failed"
    assert {entry.get("line") for entry in batch["errors"]["data"]} == {n + 1 for n in bad}


MANY = {
    "21 alone": (COUNT, set(range(21)), False),
    "21 apart": (126, set(range(0, 126, 6)), True),
    "all": (COUNT, set(range(COUNT)), True),
    "all but one": (COUNT, set(range(1, COUNT)), True),
}


@pytest.mark.parametrize("what", MANY)
def test_where_too_many_lines_are_bad_few_creates_tell(what: str, stand: Stand, gateway: Client) -> None:
    count, bad, stopped = MANY[what]
    lines = poisoned(count, bad, SILENT)
    said = refused(gateway, gateway.run(lines, stand.provider), lines)
    assert said.keys() >= bad
    assert any("More than 20 lines" in message for message in said.values()) == stopped
    assert creates(stand) <= 1 + 2 * math.ceil(math.log2(count)) * (MOST + 1)
    assert paid(stand) == count - len(said)


def test_refusals_that_are_about_no_line_are_not_looked_into(stand: Stand, gateway: Client) -> None:
    stand.faults(
        {
            "on": stand.stand_in.judges,
            "kind": "status",
            "status": 400,
            "times": None,
            "message": "Your credit balance is too low.",
        }
    )
    lines = chats(COUNT)
    batch = gateway.run(lines, stand.provider)
    assert (batch["status"], batch["request_counts"]["failed"], creates(stand)) == ("failed", COUNT, 1)


def test_what_was_cut_is_seen_while_the_rest_runs(stand: Stand, gateway: Client) -> None:
    _lines_are_named(stand)
    stand.options(run_seconds=600.0)
    batch_id = gateway.submit(poisoned(COUNT, {7}, NAMED), stand.provider)
    until(lambda: [job["status"] for job in jobs(gateway, batch_id)] == ["replaced", "refused", "running"])
    whole, alone, rest = jobs(gateway, batch_id)
    assert ("cut_from" in whole, alone["cut_from"], rest["cut_from"]) == (False, 0, 0)
    assert alone["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert "line 8 of the file" in alone["error"]["message"]
    assert rest["request_counts"]["total"] == COUNT - 1
    assert gateway.batch(batch_id)["request_counts"] == {"total": COUNT, "completed": 0, "failed": 1}
    rows = gateway.call("GET", f"/batches/{batch_id}/output", headers={"accept": "application/json"})
    assert [json.loads(row)["custom_id"] for row in rows.splitlines()] == ["line 7"]
    stand.sandbox.control.advance(601)
    assert gateway.until(batch_id)["request_counts"] == {"total": COUNT, "completed": COUNT - 1, "failed": 1}


def jobs(gateway: Client, batch_id: str) -> list[dict[str, Any]]:
    return list(gateway.call("GET", f"/batches/{batch_id}?include=jobs")["jobs"])


def test_a_cancel_ends_what_is_being_cut(stand: Stand, gateway: Client) -> None:
    """However far the search is: each line is answered, cancelled or refused, and nothing runs afterwards."""
    stand.options(run_seconds=600.0)
    lines = poisoned(COUNT, {7, 30}, SILENT)
    batch_id = gateway.submit(lines, stand.provider)
    until(lambda: len(jobs(gateway, batch_id)) > 1, "a part that was cut")
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    rows = gateway.rows(batch.get("error_file_id"))
    assert batch["status"] == "cancelled"
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    assert not any(stand.running() for _ in range(3))


# ---- retry ----


def retried(gateway: Client, batch: dict[str, Any], slug: str = "") -> dict[str, Any]:
    status, made = gateway.ask("POST", f"/batches/{batch['id']}/retry", {}, {"x-portkey-virtual-key": slug})
    assert status == 200, made
    return gateway.until(made["id"])


@pytest.mark.parametrize("marker", [NAMED, SILENT])
def test_a_retry_leaves_out_what_is_refused_alone(marker: str, stand: Stand, gateway: Client) -> None:
    lines = poisoned(COUNT, {7}, marker)
    lines[12]["body"]["messages"][0]["content"] += "[[sandbox:error=500]]"
    batch = gateway.run(lines, stand.provider)
    assert batch["request_counts"]["failed"] == 2
    before = creates(stand)
    again = retried(gateway, batch)
    assert again["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert (gateway.rows(again["error_file_id"])[0]["custom_id"], creates(stand)) == ("line 12", before + 1)


@pytest.mark.parametrize("marker", [NAMED, SILENT])
def test_a_retry_of_lines_that_are_refused_alone_says_so(marker: str, stand: Stand, gateway: Client) -> None:
    batch = gateway.run(poisoned(COUNT, {7, 8}, marker), stand.provider)
    before = creates(stand)
    status, answer = gateway.ask("POST", f"/batches/{batch['id']}/retry", {}, {"x-portkey-virtual-key": ""})
    assert (status, answer["error"]["code"]) == (400, "nothing_to_retry")
    assert "8, 9 by number" in answer["error"]["message"]
    elsewhere = retried(gateway, batch, f"{stand.provider}-narrow")
    assert elsewhere["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    assert creates(stand) > before


@pytest.mark.parametrize("marker", [NAMED, SILENT])
def test_retries_never_send_a_set_that_was_refused(marker: str, stand: Stand, gateway: Client) -> None:
    """Every retry takes less for bad, until all good lines are answered.

    It knows the sets of the batch that it retries. Of those before it one may come again, where its lines were in two
    larger sets meanwhile: that is a create for nothing, which nobody pays for.
    """
    count, bad = 126, set(range(0, 126, 3))
    batch, before, done = gateway.run(poisoned(count, bad, marker), stand.provider), list[set[int]](), 0
    for _ in range(8):
        ids = {int(row["custom_id"].split()[1]) for row in gateway.rows(batch.get("output_file_id"))}
        assert not ids & bad
        done += len(ids)
        refused = refused_sets(gateway, batch)
        assert not any(known <= new for known in before for new in refused), "what was refused was sent again"
        if done == count - len(bad):
            return
        before, batch = refused, retried(gateway, batch)
    raise AssertionError("good lines are never answered")


def refused_sets(gateway: Client, batch: dict[str, Any]) -> list[set[int]]:
    """Return which lines were refused together at the end, by what they are called."""
    sets: dict[int, set[int]] = {}
    for entry in read_ledger(gateway.data, batch["id"]):
        if "refused_together" in entry:
            sets.setdefault(entry["part"], set()).add(int(entry["custom_id"].split()[1]))
    return list(sets.values())
