"""What the gateway says beside its socket, and how it is read again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from proxy_plugin.inside.facts import FactsReader, SocketFacts, write


def test_the_newest_facts_are_read(tmp_path: Path) -> None:
    socket = tmp_path / "gateway.sock"
    reader = FactsReader(socket)
    assert reader.now() == SocketFacts()
    write(socket, "first", [])
    assert reader.now() == SocketFacts("first")
    key = hashlib.sha256(b"a key").hexdigest()
    write(socket, "second", [key])
    assert reader.now() == SocketFacts("second", frozenset({key}))
    assert reader.now().knows("a key")
    assert not reader.now().knows("another")
    assert reader.now() is reader.now()


def test_nobody_else_can_read_them_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    write(tmp_path / "gateway.sock", "secret", [])
    (path,) = tmp_path.iterdir()
    assert path.name == "gateway.facts"
    assert path.stat().st_mode & 0o777 == 0o600


def test_facts_that_are_damaged_are_none(tmp_path: Path) -> None:
    (tmp_path / "gateway.facts").write_text("{}{")
    assert FactsReader(tmp_path / "gateway.sock").now() == SocketFacts()
