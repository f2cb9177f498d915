"""A replica that starts before its database, or its store: it waits for the one, and serves without the other."""

from __future__ import annotations

import json
import signal
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.postgres import Databases
from tests.support.stack import Gateway
from tests.support.waiting import until

LANE = {"provider": "openai", "api_key": "sk-sandbox-key", "custom_host": "http://127.0.0.1:9/v1"}
NOWHERE = {
    "endpoint": f"http://127.0.0.1:{free_port()}",
    "region": "us-east-1",
    "access_key_id": "k",
    "secret_access_key": "s",
    "allow_http": True,
}


@pytest.fixture
def gateway(databases: Databases, tmp_path: Path) -> Iterator[Gateway]:
    url = databases.fresh()
    storage = {"data_dir": str(tmp_path / "data"), "database_url": url, "blob_url": f"file://{tmp_path}/store"}
    made = Gateway(tmp_path, {"lane": LANE}, sections={"storage": storage})
    yield made
    made.close()
    databases.drop(url)


def event(gateway: Gateway, name: str) -> dict[str, Any] | None:
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    return next((line for line in lines if line.get("event") == name), None)


def ready(gateway: Gateway) -> str:
    """Return what /readyz says, and nothing while nobody listens."""
    try:
        return str(gateway.call("GET", "/readyz", root=True)["status"])
    except urllib.error.HTTPError as refusal:
        return str(json.load(refusal)["status"])


def test_a_database_that_comes_late_is_waited_for(gateway: Gateway, databases: Databases) -> None:
    databases.server.stop()
    try:
        gateway.start(wait=False)
        told = until(lambda: event(gateway, "database_awaited"), gateway.tail)
        assert str(databases.server.port) in told["reason"]
        gateway.kill(signal.SIGTERM)
        assert gateway.process is not None
        assert gateway.process.poll() == 0, "nothing else is waited for"
        gateway.log.write_text("")
        gateway.start(wait=False)
        until(lambda: event(gateway, "database_awaited"), gateway.tail)
    finally:
        databases.server.start()
    gateway.until_healthy(60)
    assert ready(gateway) == "ready"


def test_a_store_that_is_away_is_told_and_a_database_that_refuses_ends_the_start(gateway: Gateway) -> None:
    gateway.sections["storage"] |= {"blob_url": "s3://batches", "blob_options": NOWHERE}
    gateway.write_config()
    gateway.start()
    assert gateway.alive(), gateway.tail()
    assert ready(gateway) == "object store away"
    gateway.kill()
    gateway.sections["storage"] |= {"database_url": gateway.sections["storage"]["database_url"] + "_not"}
    gateway.write_config()
    gateway.start(wait=False)
    assert gateway.process is not None
    assert until(lambda: gateway.process and gateway.process.poll()) == 2
    assert "the database cannot be opened: connection failed" in gateway.tail()
    assert "proxy_plugin.storage.database_url" in gateway.tail()
