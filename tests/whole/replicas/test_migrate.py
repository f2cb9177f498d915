"""What one gateway has begun goes on where replicas share a database: batches, files, ids, and no job twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support import backups
from tests.support.lines import chat_lines, jsonl
from tests.support.postgres import Databases
from tests.support.stack import KEY, Gateway, lane
from tests.support.stand_ins import QUICK
from tests.support.waiting import until

HELD = 600.0  # seconds that a held job would take; `advance` ends it
OPERATOR = {"name": "tests", "key": KEY, "operator": True}


@pytest.fixture
def alone(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, {"lane": lane(sandbox)}, sections={"api_keys": [OPERATOR]})
    made.start()
    yield made
    made.close()


def shared(alone: Gateway, database: str, home: Path, store: str | None) -> Gateway:
    """Return a gateway on the database, not started, with a data directory of its own."""
    home.mkdir()
    storage = {"data_dir": str(home / "scratch"), "database_url": database}
    storage |= {} if store is None else {"blob_url": store}
    return Gateway(home, alone.virtual_keys, sections={"api_keys": [OPERATOR], "storage": storage})


def migrate(gateway: Gateway, source: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "proxy_plugin", "migrate", "--to", "postgres", "--from", str(source)]
    done = subprocess.run([*command, "--config", str(gateway.config)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def outputs(gateway: Gateway, batch: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return output and ledger of a batch."""
    found = gateway.call("GET", f"/files/{batch['output_file_id']}/content")
    return bytes(found), bytes(gateway.call("GET", f"/batches/{batch['id']}/lines"))


@pytest.mark.parametrize("of_store", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["store", "folder"])
def test_batches_go_on_and_nothing_is_paid_for_twice(
    alone: Gateway, sandbox: Sandbox, database: str, databases: Databases, tmp_path: Path, *, of_store: bool
) -> None:
    if of_store:
        pytest.importorskip("proxy_plugin.storage.blobs.object_store")
    sandbox.control.reset()
    ended = alone.until(alone.create(alone.upload(jsonl(chat_lines(5))))["id"])
    before = outputs(alone, ended)
    sandbox.control.options("openai", run_seconds=HELD)
    running = alone.create(alone.upload(jsonl(chat_lines(7))))
    until(lambda: len(sandbox.control.jobs()) == 2)
    path = f"/batches/{running['id']}?include=jobs"
    until(lambda: [job["status"] for job in alone.call("GET", path)["jobs"]] == ["running"])
    new = shared(alone, database, tmp_path / "new", f"file://{tmp_path}/objects" if of_store else None)
    alone.kill()
    code, said = migrate(new, alone.data)
    assert (code, "replicas can start" in said) == (0, True), said
    new.start()
    assert new.batch(ended["id"]) == ended
    assert outputs(new, ended) == before
    sandbox.control.options("openai", **QUICK["openai"])
    sandbox.control.advance(HELD + 1)
    assert new.until(running["id"])["request_counts"] == {"total": 7, "completed": 7, "failed": 0}
    assert len(sandbox.control.jobs()) == 2
    assert [each["status"] for each in new.call("GET", "/replicas")["data"]] in ([], ["alive"])
    both = outputs(new, ended), outputs(new, new.batch(running["id"]))
    new.close()
    alone.start()
    assert not alone.alive(), "it would pay for everything again"
    assert "was moved to replicas: PostgreSQL" in alone.tail()
    if of_store:
        copied = restored(new, database, databases, tmp_path)
        assert (outputs(copied, ended), outputs(copied, copied.batch(running["id"]))) == both
        copied.close()


def restored(gateway: Gateway, database: str, databases: Databases, home: Path) -> Gateway:
    """Start a gateway on what the guide's backup has: a dump, and then the objects."""
    url = databases.fresh()
    backups.restore(database, url, home)
    shutil.copytree(home / "objects", home / "copied")
    found = shared(gateway, url, home / "restored", f"file://{home}/copied")
    found.start()
    assert found.alive(), found.tail()
    return found
