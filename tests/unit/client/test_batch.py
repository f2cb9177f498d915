"""A batch as an object: how it is drawn, waited for and made, before a gateway of a few lines."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.client import Batch, Misuse, Refused, Unreachable
from proxy_plugin.client import batch as module
from proxy_plugin.client.connecting import transport
from proxy_plugin.commands.connection import Transport
from proxy_plugin.commands.gateway import Remote

RUNS = {
    "id": "batch_1",
    "status": "in_progress",
    "request_counts": {"total": 4, "completed": 1, "failed": 1},
    "created_at": 1_700_000_000,
    "jobs": [],
}
ENDED = RUNS | {"status": "completed", "completed_at": 1_700_000_090, "cost": 0.5}
AWAY = Unreachable("the gateway is away.", sent=False)


class Told(Transport):
    """A way on which the gateway answers what a test tells it."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("http://127.0.0.1:9/v1", {})
        self.answers, self.asked = list(answers), list[str]()

    def call(self, method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked.append(f"{method} {path}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def batch(found: dict[str, Any], *answers: Any) -> Batch:
    way = Told(*answers)
    return Batch(way, Remote(way), found)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)


def test_it_says_how_far_it_is() -> None:
    found = batch(ENDED)
    assert (found.id, found.status, found.counts, found.cost, found.ended) == (
        "batch_1", "completed", (4, 1, 1), 0.5, True,
    )  # fmt: skip
    assert repr(found) == "<Batch batch_1: completed, 1 completed, 1 failed of 4 lines>"


def test_waiting_bears_with_a_gateway_that_is_away() -> None:
    found = batch(RUNS, AWAY, Refused(503, "starting"), ENDED)
    assert found.wait() is found
    assert found.ended


async def test_awaiting_gives_the_batch_when_it_has_ended() -> None:
    found = batch(RUNS, RUNS, ENDED)
    assert (await found) is found
    assert found.status == "completed"


def test_a_refusal_that_stays_ends_the_waiting() -> None:
    with pytest.raises(Refused, match="403"):
        batch(RUNS, Refused(403, "not yours", retry=False)).wait()


def test_it_is_drawn_with_its_progress_and_nothing_of_a_gateway_is_taken_for_html() -> None:
    drawn = batch(ENDED | {"id": "<script>", "errors": {"data": [{"message": "<b>bad</b>"}]}})._repr_html_()
    assert "max='4' value='2'" in drawn
    assert "1 min 30 s" in drawn
    assert "&lt;script&gt;" in drawn
    assert "&lt;b&gt;bad" in drawn
    assert "<script>" not in drawn


def test_drawing_asks_again_where_what_is_known_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLD", -1.0)
    assert "completed" in batch(RUNS, ENDED)._repr_html_()
    assert "the gateway is away" in batch(RUNS, AWAY)._repr_html_()


def test_what_has_ended_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLD", -1.0)
    assert "completed" in batch(ENDED)._repr_html_()


def test_a_create_that_is_refused_leaves_no_upload_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Refused(400, "no", param="endpoint", retry=False)
    way = Told(Refused(400, "what?", param="input_file_id"), refused, {})
    monkeypatch.setattr(module, "transport", lambda: way)
    monkeypatch.setattr(way, "upload", lambda *_: {"id": "file-1"})
    with pytest.raises(Refused, match="no"):
        Batch.submit(["Hi"], model="m")
    assert way.asked == ["POST /batches/plan", "POST /batches", "DELETE /files/file-1"]


def test_an_upload_that_an_earlier_call_made_needless_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Told(Refused(400, "what?", param="input_file_id"), RUNS | {"input_file_id": "file-0"}, {})
    monkeypatch.setattr(module, "transport", lambda: way)
    monkeypatch.setattr(way, "upload", lambda *_: {"id": "file-1"})
    assert Batch.submit(["Hi"], model="m", idempotency_key="monday").id == "batch_1"
    assert way.asked[-1] == "DELETE /files/file-1"


def test_a_file_is_sent_as_it_is_or_not_at_all() -> None:
    with pytest.raises(Misuse, match="sent as they are"):
        Batch.submit("questions.jsonl", model="m")


def test_one_place_is_named_at_most_and_no_key_is_shown() -> None:
    with pytest.raises(Misuse, match="one of"):
        transport(virtual_key="a", provider="b", env={})
    with pytest.raises(Misuse, match="api_key") as refused:
        transport(api_key="sk-ü", env={})
    assert "sk-" not in str(refused.value).replace("api_key", "")
