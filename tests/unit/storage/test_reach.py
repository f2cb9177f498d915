"""Whether a database and a store can be used: in one line, without a password, and nothing is left there."""

from __future__ import annotations

import pytest

from proxy_plugin.storage import reach
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.sessions import DatabaseSession
from tests.support.ports import free_port

PASSWORD = "pw-Hidden-0815"


class Bucket:
    """An object store in memory that refuses some calls."""

    def __init__(self, refused: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self._refused = refused

    def _do(self, what: str) -> None:
        if what == self._refused:
            raise StoreAway(f"403 for\n{what}")

    def put_bytes(self, key: str, data: bytes) -> None:
        self._do("put")
        self.objects[key] = data

    def listed(self, folder: str) -> list[str]:
        self._do("list")
        return [key for key in self.objects if key.startswith(folder)]

    def read(self, key: str, start: int, stop: int) -> memoryview:
        self._do("read")
        return memoryview(self.objects[key])[start:stop]

    def delete(self, keys: list[str]) -> None:
        self._do("delete")
        for key in keys:
            del self.objects[key]


def test_a_store_is_tried_and_left_as_it_was() -> None:
    bucket = Bucket()
    assert reach.tried(bucket) == ""
    assert bucket.objects == {}


@pytest.mark.parametrize(
    ("refused", "said"), [("put", "written"), ("list", "listed"), ("read", "read"), ("delete", "deleted")]
)
def test_the_right_that_is_missing_is_named(refused: str, said: str) -> None:
    assert reach.tried(Bucket(refused)) == f"no object can be {said} (403 for {refused})"


def test_a_database_that_answers_can_be_used(session: DatabaseSession, migrated: str) -> None:
    assert reach.database(migrated) == ("", ""), "and its clock is the one here"


def test_another_is_told_without_its_password() -> None:
    said, clocks = reach.database(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d")
    assert said
    assert not clocks
    assert "\n" not in said
    assert PASSWORD not in said


def test_options_of_a_url_that_nobody_knows_are_told() -> None:
    said = reach.database(f"postgresql://u:{PASSWORD}@h/d?sslmod=require")
    assert said == ("its URL cannot be read: look at the options behind the ?", "")
