"""What the engine asks PostgreSQL all day reads indexes, whatever the values are, and no more for a longer queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy_plugin.storage import sessions
from proxy_plugin.storage.sessions import DatabaseSession
from tests.support.postgres import Databases
from tests.support.rows import make_schema
from tools import due_queries

BATCHES, WORKSPACES = 3_000, 12
LARGE = {"batches", "parts", "files", "webhook_deliveries", "charges", "workspaces"}


@pytest.fixture(scope="module")
def filled(databases: Databases) -> Iterator[DatabaseSession]:
    url = databases.like("schema", make_schema)
    with closing(sessions.connect(url, synchronous_commit="off")) as session:
        due_queries.fill(session, BATCHES, WORKSPACES, BATCHES // 10)
        yield session
    databases.drop(url)


@pytest.mark.parametrize("question", due_queries.ASKED)
def test_it_reads_few_pages_and_no_table_from_end_to_end(filled: DatabaseSession, question: str) -> None:
    for plan in due_queries.plans(filled, due_queries.ASKED[question]):
        whole = {node["Relation Name"] for node in plan.nodes() if node["Node Type"] == "Seq Scan"}
        assert not whole & LARGE, plan.sql
        assert plan.pages < 50 * WORKSPACES, plan.sql
