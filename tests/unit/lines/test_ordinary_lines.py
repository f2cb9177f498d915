"""The quick way of ordinary lines through the merge: never other bytes than the way that takes every line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.envelope import EnvelopeFault, decode_envelope
from proxy_plugin.lines.merging.ordinary import Ordinary, id_of
from proxy_plugin.lines.row_store import FAILED, OK, RowMeta, RowWriter
from proxy_plugin.providers.base import Usage
from tests.toy.generated import FAST
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")

METAS = st.builds(
    RowMeta,
    code=st.none() | st.none() | st.just("200"),
    model=st.none() | st.sampled_from(["wool-1", "wool-1-0301", 'w"\u2028ool', ""]),
    usage=st.none() | st.builds(Usage, *[st.sampled_from([0, 3, 10**6, 2**60])] * 6),
    requests=st.none() | st.none() | st.just(2),
)
TEXTS = st.sampled_from([b'{"status_code":200}', '{"é":"\u2028\x85"}'.encode(), b'{"a":"' + b"x" * 70_000 + b'"}'])
ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([OK, OK, OK, FAILED]), METAS, TEXTS), max_size=12)


def check_both_ways(batch: ToyBatch) -> None:
    facts = batch.merge()
    files = files_below(batch.folder / "merge")
    with mock.patch.object(Ordinary, "add", return_value=False):
        assert batch.merge() == facts
    assert files_below(batch.folder / "merge") == files


@given(ROWS)
def test_answers_of_all_kinds_are_merged_alike(rows: list[tuple[int, int, RowMeta, bytes]]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        batch = ToyBatch(Path(folder), [chat(f"id {n}\u2029é" if n % 2 else f"id {n}") for n in range(7)])
        (part,) = batch.split().parts
        writer = RowWriter(Path(folder) / "rows-0")
        for ordinal, kind, meta, text in rows:
            writer.add(ordinal, part.n, kind, meta, text)
        writer.close()
        batch.rows[part.n] = str(Path(folder) / "rows-0")
        check_both_ways(batch)


def test_most_lines_are_ordinary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ToyBatch(tmp_path, [chat(f"id {n}") for n in range(7)])
    (part,) = batch.split().parts
    batch.collect(part, batch.woven(part))
    monkeypatch.setattr("proxy_plugin.lines.merge.decode_envelope", None)
    assert batch.merge().completed == 7


FORMS = ('{"custom_id":"ID",REST}', '{"custom_id": "ID", REST}', '{REST,"custom_id":"ID"}', ' {"custom_id":"ID",REST} ')
OTHERS = (
    *("", '"custom_id":"b",', r'"custo\u006d_id":"b",', '"metadata":{"custom_id":"b"},', r'"x":"\"custom_id\"",'),
    *('"x":"é\\u00e9",', r'"x":"\ud83d",', '"custom_idx":"b",'),
)


@given(st.sampled_from(FORMS), st.text(max_size=5), st.sampled_from(OTHERS), st.booleans())
def test_an_id_is_found_as_the_envelope_has_it(form: str, name: str, more: str, escaped: bool) -> None:
    body = '"method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}'
    line = form.replace('"ID"', json.dumps(name, ensure_ascii=escaped)).replace("REST", more + body)
    text = line.encode("utf-8", "surrogatepass")
    try:
        envelope = decode_envelope(text)
    except EnvelopeFault:
        return
    assert id_of(text) == envelope.custom_id_json
