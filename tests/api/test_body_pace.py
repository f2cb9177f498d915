"""Uploads that do not come in their time are ended, also inside another application."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.files_app import BOUNDARY, LINE, form
from tests.support.served import KEY, running
from tests.support.waiting import eventually
from tests.support.wire import wire

BRIEF = {"max_body_seconds": 0.2}
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
WHO = f"x-portkey-api-key: {KEY}"


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_an_upload_that_takes_too_long_is_dropped_and_its_place_free(tmp_path: Path, framing: str) -> None:
    async with running(tmp_path, connections=BRIEF) as served, wire(served) as client:
        body = form(LINE)[:200]
        chunked = b"%x\r\n%b\r\n" % (len(body), body)
        await client.send("POST", "/v1/files", WHO, FORM, framing, body=body if "Length" in framing else chunked)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert "0.2 seconds" in answer.error["message"]
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert not served.gateway.traffic.uploads_of
