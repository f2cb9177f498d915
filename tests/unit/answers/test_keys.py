"""Keys of answers: equal lines have different ones, and a file the same ones each time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.answers.keys import KeyFile, KeyReader, Occurrences, digest_of, key_of

DIGESTS = st.lists(st.binary(min_size=1, max_size=2).map(lambda text: digest_of((), [text])), max_size=300)


@given(DIGESTS)
def test_occurrences_are_counted_as_a_dictionary_counts_them(digests: list[bytes]) -> None:
    counted, plain = Occurrences(4), Counter[bytes]()
    for digest in digests:
        assert counted.next(digest) == plain[digest]
        plain[digest] += 1


@given(DIGESTS)
def test_no_two_lines_of_a_file_have_the_same_key(digests: list[bytes]) -> None:
    counted = Occurrences(4)
    keys = [key_of(digest, counted.next(digest)) for digest in digests]
    assert len(set(keys)) == len(keys)


@given(DIGESTS, st.randoms())
def test_other_lines_between_change_no_key(digests: list[bytes], chance: st.DataObject) -> None:
    def keys(of: list[bytes]) -> Counter[bytes]:
        counted = Occurrences(4)
        return Counter(key_of(digest, counted.next(digest)) for digest in of)

    shuffled = list(digests)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert keys(shuffled) == keys(digests)


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_other_facts_are_another_digest(one: list[str], other: list[str]) -> None:
    assert (digest_of(one, [b"x"]) == digest_of(other, [b"x"])) == (one == other)


def test_several_records_are_not_the_one_that_they_make_together() -> None:
    assert len({digest_of((), each) for each in ([b"ab"], [b"a", b"b"], [b"b", b"a"], [b"a", b"b", b""])}) == 4


def test_digests_that_begin_alike_are_counted_together_and_have_keys_of_their_own() -> None:
    one, other = b"12345678" + b"a" * 8, b"12345678" + b"b" * 8
    counted = Occurrences()
    assert [counted.next(one), counted.next(other)] == [0, 1]
    assert key_of(one, 0) != key_of(other, 0)


@given(st.sets(st.integers(0, 5_000), max_size=50))
def test_a_file_of_keys_has_them_by_ordinal(ordinals: set[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys")
        file = KeyFile(path)
        for ordinal in sorted(ordinals):
            file.add(ordinal, key_of(b"d", ordinal), ordinal)
        file.close()
        with KeyReader(str(path)) as reader:
            found = {n: key for n in range(5_010) if (key := reader.key(n)) is not None}
            repeats = {n: repeat for n in range(5_010) if (repeat := reader.repeat(n))}
    assert found == {n: key_of(b"d", n) for n in ordinals}
    assert repeats == {n: n for n in ordinals if n}


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 6)), max_size=40))
def test_what_was_counted_elsewhere_is_never_counted_back(lines: list[tuple[bytes, int]]) -> None:
    counted, found = Occurrences(4), list[tuple[bytes, int]]()
    for text, least in lines:
        digest = digest_of((), [text])
        found.append((digest, counted.next(digest, least)))
        assert found[-1][1] >= least
    assert len(set(found)) == len(found)


def test_a_file_that_is_not_there_has_no_keys(tmp_path: Path) -> None:
    for path in (None, str(tmp_path / "keys")):
        with KeyReader(path) as reader:
            assert (reader.key(0), reader.repeat(0)) == (None, 0)


def test_a_long_gap_takes_no_room(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    file.add(10_000_000, b"k" * 16)
    file.close()
    assert (tmp_path / "keys").stat().st_blocks * 512 < 2**16
