"""A batch of Anthropic's is told by webhook, whatever is killed between the commit and the receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import chat_lines, jsonl
from tests.support.receiver import SECRET, Receiver, receiver
from tests.support.stack import Gateway, lane
from tests.support.waiting import until


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as it:
        yield it


@pytest.fixture
def gateway(sandbox: Sandbox, there: Receiver, tmp_path: Path) -> Iterator[Gateway]:
    hooks = [{"url": there.url, "secret": SECRET, "events": ["batch.in_progress", "batch.progress", "batch.completed"]}]
    sections = {"webhooks": hooks}
    server = {"webhooks_hosts": ["127.0.0.1"]}
    it = Gateway(tmp_path, {"lane": lane(sandbox, provider="anthropic")}, server=server, sections=sections)
    try:
        yield it
    finally:
        it.close()


def test_the_end_of_an_anthropic_batch_comes_at_least_once_in_order_under_one_id(
    gateway: Gateway, there: Receiver
) -> None:
    """Killed before the first event leaves, and once more when the receiver has answered and nothing is noted."""
    gateway.start(fail="webhook.before:1")
    batch_id = gateway.create(gateway.upload(jsonl(chat_lines(4, model="claude-haiku-4-5"))))["id"]
    until(lambda: not gateway.alive(), gateway.tail)
    assert there.came == []
    gateway.start(fail="webhook.acted:1")
    until(lambda: not gateway.alive(), gateway.tail)
    assert there.types == ["batch.in_progress"]
    gateway.start()
    until(lambda: "batch.completed" in there.types, gateway.tail)
    gateway.until_event(lambda log: log.count("webhook_delivered") == len(there.came) - 1)
    first, again = there.came[:2]
    assert (again.id, again.body) == (first.id, first.body)
    assert [each.id for each in there.came[1:]] == list(dict.fromkeys(each.id for each in there.came[1:]))
    assert there.types[-1] == "batch.completed"
    assert set(there.types[2:-1]) <= {"batch.progress"}
    event = there.came[-1].unwrapped()
    assert (event.type, event.data.id) == ("batch.completed", batch_id)  # type: ignore[union-attr]
    assert gateway.batch(batch_id)["status"] == "completed"


def test_a_create_in_doubt_is_told(gateway: Gateway, there: Receiver, sandbox: Sandbox) -> None:
    gateway.sections["webhooks"][0]["events"] = ["batch.create_in_doubt"]
    gateway.write_config()
    gateway.start(fail="send.sent:1")
    batch_id = gateway.create(gateway.upload(jsonl(chat_lines(3, model="claude-haiku-4-5"))))["id"]
    until(lambda: not gateway.alive(), gateway.tail)
    gateway.start()
    until(lambda: there.came, gateway.tail)
    there.came[0].unwrapped()
    assert there.types[0] == "batch.create_in_doubt"
    assert there.came[0].event["data"] == {"id": batch_id, "part": 0, "provider": "anthropic", "lines": 3}
