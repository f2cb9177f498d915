"""The store of answers: bytes in, the same bytes out, and whatever else is found there is a miss that runs nothing."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.answers.store import FOLDER, KeptAnswers
from proxy_plugin.answers.values import Answer, Origin

KEY, OTHER = b"k" * 16, b"o" * 16
ANSWER = Answer(1_000.0, Origin("m" * 10, "wool-1"), b'{"status_code":200,"body":{}}')


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.sprung),)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path / "cache"), max_bytes=2**20, max_age=3_600.0, max_answer_bytes=2**16)


def database(shelf: Shelf) -> Path:
    return Path(shelf.folder, FOLDER, "cache.db")


def kept(shelf: Shelf, *keys: bytes, answer: Answer = ANSWER) -> None:
    with KeptAnswers(shelf) as store:
        for key in keys or (KEY,):
            store.put(key, answer)


def found(shelf: Shelf, key: bytes = KEY) -> Answer | None:
    with KeptAnswers(shelf) as store:
        return store.get(key)


def changed(shelf: Shelf, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(database(shelf))) as conn, conn:
        conn.execute(sql, values)


def entries(shelf: Shelf) -> int:
    with closing(sqlite3.connect(database(shelf))) as conn:
        return int(conn.execute("SELECT COUNT(*) FROM Cache").fetchone()[0])


def test_an_answer_comes_back_as_it_was_and_a_look_makes_nothing(shelf: Shelf) -> None:
    assert found(shelf) is None
    assert not Path(shelf.folder).exists()
    kept(shelf)
    assert found(shelf) == ANSWER
    assert found(shelf, OTHER) is None


def test_what_waits_is_not_there_before_it_is_written(shelf: Shelf) -> None:
    with KeptAnswers(shelf) as store:
        store.put(KEY, ANSWER)
        assert found(shelf) is None
    assert found(shelf) == ANSWER


def test_the_folder_is_its_users_alone(shelf: Shelf) -> None:
    Path(shelf.folder).mkdir(mode=0o755)
    kept(shelf)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in (Path(shelf.folder), database(shelf).parent)}
    assert modes == {0o700}


def test_only_bytes_are_kept() -> None:
    from proxy_plugin.answers.store import BytesDisk

    disk = BytesDisk("nowhere")
    with pytest.raises(TypeError):
        disk.store({"a": 1}, read=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        disk.put("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["in the database", "in a file"])
def test_a_pickle_is_a_miss_that_runs_nothing_and_is_removed(shelf: Shelf, tmp_path: Path, where: str) -> None:
    kept(shelf, KEY, OTHER)
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    if where == "in a file":
        (database(shelf).parent / "trap.val").write_bytes(trap)
        changed(shelf, "UPDATE Cache SET mode = 4, filename = 'trap.val', value = NULL WHERE key = ?", KEY)
    else:
        changed(shelf, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", trap, KEY)
    assert found(shelf) is None
    assert not sprung.exists()
    assert entries(shelf) == 1
    assert found(shelf, OTHER) == ANSWER
    assert pickle.loads(trap) is None
    assert sprung.exists(), "the trap works"


def test_an_entry_that_names_a_file_neither_reads_nor_removes_it(shelf: Shelf, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"not yours")
    kept(shelf)
    changed(shelf, "UPDATE Cache SET mode = 2, filename = ?, value = NULL", str(precious))
    assert found(shelf) is None
    assert precious.read_bytes() == b"not yours"
    assert entries(shelf) == 0


def test_a_key_that_is_a_pickle_is_not_met(shelf: Shelf, tmp_path: Path) -> None:
    kept(shelf, OTHER)
    sprung = tmp_path / "sprung"
    changed(shelf, "UPDATE Cache SET key = ?, raw = 0", pickle.dumps(Trap(sprung)))
    kept(shelf, KEY)
    assert found(shelf) == ANSWER
    assert not sprung.exists()


def cut_off(value: bytes) -> bytes:
    return value[:-1]


def turned(value: bytes) -> bytes:
    return value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]


def of_another_format(value: bytes) -> bytes:
    return b"\x02" + value[1:]


@pytest.mark.parametrize("damage", [cut_off, turned, of_another_format, lambda _: b"", lambda _: b"x" * 64])
def test_a_damaged_entry_is_a_miss_and_is_removed(shelf: Shelf, damage: Callable[[bytes], bytes]) -> None:
    kept(shelf, KEY, OTHER)
    with closing(sqlite3.connect(database(shelf))) as conn:
        value = conn.execute("SELECT value FROM Cache WHERE key = ?", (KEY,)).fetchone()[0]
    changed(shelf, "UPDATE Cache SET value = ? WHERE key = ?", damage(value), KEY)
    assert found(shelf) is None
    assert found(shelf, OTHER) == ANSWER
    assert entries(shelf) == 1


def test_an_answer_under_another_key_is_a_miss(shelf: Shelf) -> None:
    kept(shelf)
    changed(shelf, "UPDATE Cache SET key = ?", OTHER)
    assert found(shelf, OTHER) is None


def damages() -> Iterator[Any]:
    yield pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5_000]), id="cut")
    yield pytest.param(lambda path: path.write_bytes(path.read_bytes()[: 3 * 4096]), id="cut between pages")
    yield pytest.param(lambda path: path.write_bytes(b""), id="empty")
    yield pytest.param(lambda path: path.write_bytes(b"something else " * 1000), id="foreign")
    yield pytest.param(lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 20_000), id="overwritten")


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_database_is_a_miss_and_is_made_anew(shelf: Shelf, damage: Callable[[Path], object]) -> None:
    kept(shelf, *(bytes([n]) * 16 for n in range(200)))
    for beside in database(shelf).parent.glob("cache.db-*"):
        beside.unlink()
    damage(database(shelf))
    assert [found(shelf, bytes([n]) * 16) for n in range(200)] == [None] * 200
    kept(shelf)
    kept(shelf)  # what the first found damaged is there for the second
    assert found(shelf) == ANSWER


def test_the_database_of_somebody_else_is_made_anew(shelf: Shelf) -> None:
    database(shelf).parent.mkdir(parents=True)
    changed(shelf, "CREATE TABLE Cache (something TEXT)")
    assert found(shelf) is None
    kept(shelf)
    assert found(shelf) == ANSWER


def test_settings_that_are_not_ours_make_it_anew(shelf: Shelf) -> None:
    kept(shelf)
    changed(shelf, "INSERT INTO Settings VALUES ('disk_command', 'rm')")
    assert found(shelf) is None
    kept(shelf)
    assert found(shelf) == ANSWER


def test_the_oldest_go_where_there_is_no_more_room(shelf: Shelf) -> None:
    answer = ANSWER._replace(text=b"x" * 10_000)
    for n in range(250):
        kept(shelf, n.to_bytes(16, "big"), answer=answer)
    there = [n for n in range(250) if found(shelf, n.to_bytes(16, "big"))]
    assert there == list(range(250 - len(there), 250))
    assert len(there) > 40
    assert database(shelf).stat().st_size <= shelf.max_bytes * 1.1


def test_what_is_too_long_is_not_kept(shelf: Shelf) -> None:
    kept(shelf, answer=ANSWER._replace(text=b"x" * (shelf.max_answer_bytes + 1)))
    assert found(shelf) is None
    kept(shelf, answer=ANSWER._replace(text=b"x" * shelf.max_answer_bytes))
    assert found(shelf) is not None


def test_nothing_is_kept_of_a_cache_without_bytes_or_on_a_full_disk(shelf: Shelf) -> None:
    kept(msgspec.structs.replace(shelf, max_bytes=0))
    kept(msgspec.structs.replace(shelf, reserve=2**62))
    assert found(shelf) is None


def test_a_busy_database_is_a_miss_and_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_plugin.answers.store._BUSY_SECONDS", 0.01)
    kept(shelf)
    with closing(sqlite3.connect(database(shelf), isolation_level=None)) as conn, KeptAnswers(shelf) as store:
        assert store.get(KEY) == ANSWER
        conn.execute("BEGIN IMMEDIATE")
        store.put(OTHER, ANSWER)
    assert found(shelf) == ANSWER
    assert found(shelf, OTHER) is None
