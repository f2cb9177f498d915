"""What people have at hand becomes lines that say the same, each under a name of its own."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.client.lines import CHAT, Recipe, write
from proxy_plugin.commands.problems import Misuse


def written(lines: Iterable[Any], **recipe: Any) -> list[dict[str, Any]]:
    file = io.BytesIO()
    count = write(lines, file, Recipe(**recipe))
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    assert len(found) == count
    return found


@given(st.lists(st.text(), min_size=1))
def test_texts_are_questions_in_their_order(texts: list[str]) -> None:
    lines = written(texts, model="m")
    assert [line["body"]["messages"] for line in lines] == [[{"role": "user", "content": each}] for each in texts]
    assert [line["custom_id"] for line in lines] == [f"line-{n}" for n in range(1, len(texts) + 1)]
    assert {line["url"] for line in lines} == {CHAT}


def test_a_conversation_gets_the_system_message_and_the_parameters() -> None:
    [line] = written([[{"role": "user", "content": "Hi"}]], model="m", system="Be short.", parameters={"max_tokens": 9})
    assert line["body"] == {
        "max_tokens": 9,
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
    }


def test_a_row_says_its_own_name_and_model_and_keeps_its_other_columns_to_itself() -> None:
    row = {"custom_id": 7, "prompt": "Hi", "model": "own", "label": "spam", "messages": None}
    assert written([row], model="m") == [
        {
            "custom_id": "7",
            "method": "POST",
            "url": CHAT,
            "body": {"model": "own", "messages": [{"role": "user", "content": "Hi"}]},
        }
    ]


@pytest.mark.parametrize(
    ("endpoint", "name"), [("/v1/embeddings", "input"), ("/v1/responses", "input"), ("/v1/completions", "prompt")]
)
def test_a_text_is_what_the_endpoint_calls_it(endpoint: str, name: str) -> None:
    [line] = written(["Hi"], endpoint=endpoint, model="m")
    assert (line["url"], line["body"]) == (endpoint, {"model": "m", name: "Hi"})


def test_a_whole_line_stays_as_it_is_a_lanes_own_too() -> None:
    own = {"custom_id": "a", "params": {"model": "claude", "max_tokens": 1}, "url": "/v1/messages"}
    assert written([own], model="m") == [own]
    assert written([{"body": {"model": "x"}}])[0] == {
        "custom_id": "line-1",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "x"},
    }


def test_a_function_makes_bodies_of_anything() -> None:
    [line] = written([{"question": "Hi", "body": 1}], make=lambda row: {"input": row["question"]}, model="m")
    assert line["body"] == {"model": "m", "input": "Hi"}


class Table:
    """As much of pandas as is asked for: columns, rows by place, an index."""

    columns = ("prompt",)

    def __init__(self, index: list[Any], rows: list[dict[str, Any]]) -> None:
        self.index, self._rows = index, rows

    @property
    def iloc(self) -> Table:
        return self

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Any:
        raise AssertionError("going through a table of pandas gives the names of its columns")

    def __getitem__(self, part: slice) -> Table:
        return Table(self.index[part], self._rows[part])

    def to_dict(self, form: str) -> list[dict[str, Any]]:
        assert form == "records"
        return self._rows


def test_rows_of_a_table_are_named_by_its_index_however_many_they_are() -> None:
    rows = [{"prompt": f"p{n}", "model": math.nan} for n in range(2_500)]
    lines = written(Table([f"i{n}" for n in range(2_500)], rows), model="m")
    assert [line["custom_id"] for line in lines] == [f"i{n}" for n in range(2_500)]
    assert lines[-1]["body"] == {"model": "m", "messages": [{"role": "user", "content": "p2499"}]}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no lines"),
        ([{"question": "Hi"}], "but question"),
        (["one", 7], "line 2: it is no text"),
        ([{"prompt": "one"}, {"prompt": math.nan, "custom_id": "b"}], "line 2: its prompt is empty"),
        (None, "lines are a list"),
        ({"prompt": "Hi"}, "lines are a list"),
        ([{"body": {"model": object()}}], "line 1 cannot be written as JSON"),
        ([{"body": {"temperature": math.inf}}], "line 1 cannot be written as JSON"),
    ],
)
def test_what_is_no_line_is_refused_before_anything_is_sent(lines: Any, said: str) -> None:
    with pytest.raises(Misuse, match=said):
        written(lines)
