"""Members of an object: an evenly written one is read the quick way, any other the general way, with one outcome."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.formats import members as reading
from proxy_plugin.providers.formats.members import may_name, members

BLANKS = st.sampled_from(["", " ", "\n", "  "])
KEYS = st.sampled_from(['"n"', '"model"', '"\\u006e"', '"ö"', '"\\u00f6"', '""', '"a\\"b"'])
VALUES = st.sampled_from(
    ['"x"', '"\\ud83d"', '", \\"n\\": 1"', "1", "-1.50e9", "true", "null", "[]", '{"n": 1, "m": {}}', '[{"n":"]"}, 2]']
)


@settings(max_examples=300)
@given(
    pairs=st.lists(st.tuples(KEYS, VALUES), max_size=4),
    even=st.sampled_from([(":", ","), (": ", ", "), None]),
    blanks=st.lists(BLANKS, min_size=18, max_size=18),
)
def test_places_are_the_same_either_way(
    pairs: Sequence[tuple[str, str]], even: tuple[str, str] | None, blanks: list[str]
) -> None:
    if even is None:
        blank = iter(blanks)
        written = (f"{next(blank)}{key}{next(blank)}:{next(blank)}{value}{next(blank)}" for key, value in pairs)
        text = f"{next(iter(blanks))}{{{','.join(written)}}}"
    else:
        text = "{" + even[1].join(f"{key}{even[0]}{value}" for key, value in pairs) + "}"
    body = text.encode()
    found = list(members(body))
    assert found == list(reading._tokens(body))
    assert [(json.loads(key), value.encode()) for key, value in pairs] == [(key, body[a:b]) for key, a, b in found]
    if any(key in ("n", "model") for key, _, _ in found):
        assert may_name(body, "n", "model")


def test_lines_as_clients_write_them_take_the_quick_way() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Köln"}], "n": 1}
    for separators in ((",", ":"), (", ", ": ")):
        assert reading._evenly(json.dumps(body, separators=separators).encode()) is not None
