"""Nothing of ours goes to another host: no redirect of any call is followed, and no results URL is believed."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.stand_ins import StandIn, find
from tests.support.waiting import until
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import STAND_INS, Elsewhere, Stand, account, chats

CODES = (301, 302, 307, 308)
LINES = chats(4)


def _moved(on: str, status: int, elsewhere: Elsewhere, **more: Any) -> dict[str, Any]:
    """Return a fault: the call is answered once with a redirect to the other host."""
    return {"kind": "status", "on": on, "status": status, "headers": {"location": f"{elsewhere.url}/v1/x"}} | more


def _check_untouched(elsewhere: Elsewhere) -> None:
    """The host got nothing, and would have noted it."""
    assert elsewhere.seen == []
    with urllib.request.urlopen(f"{elsewhere.url}/alive") as answer:
        assert answer.status == 200
    assert [what for what, _, _ in elsewhere.seen] == ["GET /alive"]


def _check_all_met(stand: Stand) -> None:
    assert {rule["fired"] for rule in stand.sandbox.control.faults()} == {1}, "a redirect was never answered"


CREATING = [
    pytest.param(each, call, id=f"{each.provider}-{call}")
    for each in STAND_INS
    for call in ("files.create", "batches.list", "batches.create")
    if call in each.calls - set(each.moves) and (call != "batches.list" or each.newest)
]


@pytest.mark.parametrize(("stand_in", "call"), CREATING)
def test_a_redirect_on_the_way_to_a_job_is_refused(
    stand_in: StandIn, call: str, stand: Stand, gateway: Client, elsewhere: Elsewhere
) -> None:
    for status in CODES:
        stand.faults(_moved(call, status, elsewhere))
        batch = gateway.run(LINES, stand.provider)
        assert batch["status"] == "failed"
        assert account(gateway, batch, LINES) == {"unexpected_redirect": len(LINES)}
        assert batch["errors"]["data"][0]["code"] == "unexpected_redirect"
        _check_all_met(stand)
    assert stand.sandbox.control.log() == []
    assert elsewhere.url not in gateway.log.read_text() + "".join(gateway.answers)
    _check_untouched(elsewhere)


def test_redirects_of_polls_and_results_are_waited_out(stand: Stand, gateway: Client, elsewhere: Elsewhere) -> None:
    calls = set(stand.stand_in.free) & {"batches.retrieve", stand.stand_in.results, "files.retrieve"}
    stand.faults(*(_moved(call, status, elsewhere) for call in calls for status in CODES))
    batch = gateway.run(LINES, stand.provider)
    assert batch["status"] == "completed"
    assert account(gateway, batch, LINES) == {"ok": len(LINES)}
    _check_all_met(stand)
    assert len(stand.sandbox.control.log()) == 1
    _check_untouched(elsewhere)


def test_redirects_of_lookups_prove_nothing(stand: Stand, gateway: Client, elsewhere: Elsewhere) -> None:
    lost = {"kind": "drop_after", "on": "batches.create"}
    looks, fences = stand.stand_in.lookup, int(bool(stand.stand_in.newest))
    stand.faults(lost, *(_moved(looks, status, elsewhere, skip=fences) for status in CODES))
    batch = gateway.run(LINES, stand.provider)
    assert batch["status"] == "completed"
    assert account(gateway, batch, LINES) == {"ok": len(LINES)}
    _check_all_met(stand)
    assert len(stand.sandbox.control.log()) == 1, "a lookup that was sent elsewhere was taken for an empty list"
    _check_untouched(elsewhere)


def test_a_redirected_cancel_is_asked_again(stand: Stand, gateway: Client, elsewhere: Elsewhere) -> None:
    stand.options(run_seconds=1000)
    stand.faults(*(_moved("batches.cancel", status, elsewhere) for status in CODES))
    batch_id = gateway.submit(LINES, stand.provider)
    until(stand.running, "a running job")
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    assert account(gateway, batch, LINES) == {"batch_cancelled": len(LINES)}
    _check_all_met(stand)
    assert [entry["status"] for entry in stand.calls("batches.cancel")] == [*CODES, 200]
    _check_untouched(elsewhere)


@pytest.mark.parametrize("stand_in", [find("anthropic")], ids=["anthropic"])
def test_a_results_url_on_another_host_is_not_used(
    stand_in: StandIn, stand: Stand, gateway: Client, elsewhere: Elsewhere
) -> None:
    stand.options(results_url_host=elsewhere.url)
    batch = gateway.run(LINES, stand.provider)
    assert batch["status"] == "completed"
    assert account(gateway, batch, LINES) == {"ok": len(LINES)}
    (job,) = stand.jobs()
    assert stand.ask("GET", f"messages/batches/{job['id']}")["results_url"].startswith(elsewhere.url)
    _check_untouched(elsewhere)
