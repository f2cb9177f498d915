"""Notes of a pace that outlive its process."""

from __future__ import annotations

from pathlib import Path

from proxy_plugin.direct import journal as module
from proxy_plugin.direct.journal import Journal


class Clocks:
    """A wall clock and a monotonic one that begins anew in each process."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self.wall, self.monotonic = wall, monotonic

    def journal(self, path: Path) -> Journal:
        return Journal(path, lambda: self.wall, lambda: self.monotonic)


def test_times_are_given_in_the_clock_of_the_reader(tmp_path: Path) -> None:
    first = Clocks(1_000_000, 50).journal(tmp_path / "a" / "key.pace")
    first.open()
    first.note("call", 50, 12)
    first.note("hold", 80, 0)
    first.note("at_once", 0, 3.5)
    first.close()
    second = Clocks(1_000_010, 7).journal(tmp_path / "a" / "key.pace")
    assert [note for note in second.notes() if note[0] != "at_once"] == [("call", -3, 12), ("hold", 27, 0)]
    assert [value for kind, _, value in second.notes() if kind == "at_once"] == [3.5]


def test_a_clock_that_was_put_back_makes_no_calls_of_the_future(tmp_path: Path) -> None:
    first = Clocks(2_000_000, 0).journal(tmp_path / "key")
    first.open()
    first.note("call", 0, 0)
    first.close()
    assert list(Clocks(1_000_000, 5).journal(tmp_path / "key").notes()) == [("call", 5, 0)]


def test_a_note_that_was_cut_and_rubbish_are_passed_over(tmp_path: Path) -> None:
    first = Clocks(1_000_000, 0).journal(tmp_path / "key")
    first.open()
    first.note("call", 0, 0)
    first.close()
    with (tmp_path / "key").open("ab") as file:
        file.write(b"\xff" * 17 + b"\x00" * 5)
    assert len(list(Clocks(1_000_000, 0).journal(tmp_path / "key").notes())) == 1


def test_a_long_file_is_begun_anew_with_the_last_minutes(tmp_path: Path) -> None:
    clocks = Clocks(1_000_000, 0)
    first = clocks.journal(tmp_path / "key")
    first.open()
    first.note("at_once", 0, 2)
    for n in range(5000):
        first.note("call", n * 0.1, 0)
    first.close()
    clocks.wall = clocks.monotonic = 1_000_500
    clocks.monotonic = 500
    second = clocks.journal(tmp_path / "key")
    second.open()
    second.close()
    notes = list(clocks.journal(tmp_path / "key").notes())
    assert notes[0][0] == "at_once"
    assert len(notes) < 5000
    assert (tmp_path / "key").stat().st_size <= module._LONGEST
