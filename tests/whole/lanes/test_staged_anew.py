"""What was staged may be gone before the create is taken, as uploads are that last for two days: it is staged again."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.waiting import until
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import Stand, account, chats

LINES = chats(4)


@pytest.fixture
def google(sandbox: Sandbox) -> Stand:
    """Gemini's stand-in, which has forgotten everything."""
    sandbox.control.reset()
    return Stand(sandbox, find("google"))


def test_an_upload_that_is_gone_is_made_again_and_nothing_is_paid_twice(google: Stand, gateway: Client) -> None:
    google.faults({"kind": "status", "on": "batches.create", "status": 429, "times": None})
    batch_id = gateway.submit(LINES, "google")
    until(lambda: google.calls("batches.create"), "a create that is refused")
    (first,) = {call["id"] for call in google.calls("files.create")} - {None}
    google.ask("DELETE", f"v1beta/files/{first}")
    google.faults()
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    uploads = {call["id"] for call in google.calls("files.create")} - {None}
    assert len(uploads) == 2
    (job,) = google.jobs()
    assert (job["input_file_id"], job["lines_run"]) == ((uploads - {first}).pop(), len(LINES))
