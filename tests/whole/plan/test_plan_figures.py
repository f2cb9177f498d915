"""What a plan counts, at its limits: texts as tokens, lines that are left out, names beyond those that are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.lines.plan_count import MAX_NAMED, PlanJob, count
from proxy_plugin.lines.plan_tokens import Estimate
from tests.toy.toy_batch import TARGET, ToyBatch, chat
from tests.toy.toy_lane import CHAT

pytestmark = pytest.mark.usefixtures("toys")

FREE = msgspec.structs.replace(TARGET, max_lines=None, max_bytes=None, max_inputs=None, max_line_bytes=None)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}}}}


def estimate(body: object, endpoint: str = CHAT, *, ensure_ascii: bool = True) -> Estimate:
    found = Estimate()
    found.add(endpoint, json.dumps(body, ensure_ascii=ensure_ascii).encode())
    return found


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m" * 400, "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (said("x" * 40), 10),
        (said("x" * 41), 11),
        (said("漢字" * 5), 10),
        (said("é🙂 x"), 3),
        (said([{"type": "text", "text": "x" * 8}, PICTURE]), 2),
        (said("data:image/png;base64,AAAA"), 0),
        (said("data: 1, 2, 3"), 4),
        (said(None, tools=[TOOL]), 16),
        ({"model": "m", "input": ["x" * 8, "y" * 8]}, 4),
        ({"model": "m", "input": [[1, 2, 3], [4, 5]]}, 5),
        ({"model": "m", "instructions": "x" * 4, "input": [{"role": "user", "content": "y" * 4}]}, 2),
        (said("\ud83d" + "x" * 4), 2),
    ],
)
def test_input_tokens_by_the_length_of_the_texts(body: object, tokens: int) -> None:
    assert estimate(body).input_tokens == tokens


def test_an_escape_counts_as_the_character_that_it_stands_for() -> None:
    body = said("Straße 漢字")
    assert estimate(body).input_tokens == estimate(body, ensure_ascii=False).input_tokens == 3 + 2


@pytest.mark.parametrize(
    ("limits", "output", "unlimited"),
    [
        ({"max_tokens": 10}, 10, 0),
        ({"max_tokens": 10, "max_completion_tokens": 20}, 20, 0),
        ({"max_output_tokens": 7}, 7, 0),
        ({"max_tokens": 10, "n": 3}, 30, 0),
        ({"max_tokens": None}, 0, 1),
        ({"max_tokens": "many"}, 0, 1),
        ({"max_tokens": -1}, 0, 1),
        ({"max_tokens": True}, 0, 1),
        ({"max_tokens": 10**15, "n": 10**15}, 2**24 * 128, 0),
    ],
)
def test_output_tokens_by_the_limit_that_a_line_sets(limits: dict[str, Any], output: int, unlimited: int) -> None:
    found = estimate(said("x", **limits))
    assert (found.output, found.unlimited) == (output, unlimited)


def test_embeddings_have_no_answer_to_be_limited() -> None:
    found = estimate({"model": "m", "input": "x"}, "/v1/embeddings")
    assert (found.input_tokens, found.output, found.unlimited) == (1, 0, 0)


def test_lines_with_pictures_are_counted_once_each() -> None:
    found = Estimate()
    for body in (said([PICTURE, PICTURE]), said("none"), said([PICTURE])):
        found.add(CHAT, json.dumps(body).encode())
    assert found.media == 2


def test_a_number_that_nobody_can_read_is_estimated_by_its_length() -> None:
    found = Estimate()
    found.add(CHAT, b'{"model":"m","messages":[],"seed":' + b"1" * 5_000 + b"}")
    assert found.input_tokens == pytest.approx(1_260, rel=0.01)


def test_lines_that_are_no_requests_are_left_out(tmp_path: Path) -> None:
    lines = [chat("a"), b"x" * 900, chat("b"), b"{broken", chat("c"), chat("d"), b"y" * 900, b"z" * 900]
    batch = ToyBatch(tmp_path, lines, (FREE,))
    job = PlanJob(batch.split_job(), frozenset({CHAT}), max_line_bytes=800, repeated=frozenset({7}))
    figures = count(job)  # the line with number 7 is "d": there are blank lines between
    assert (figures.placed, figures.refused, figures.jobs) == (3, 0, 1)
    nowhere = count(PlanJob(batch.split_job(), frozenset({"/v1/embeddings"}), max_line_bytes=800))
    assert (nowhere.placed, nowhere.refused, nowhere.targets) == (0, 0, ())


def test_targets_beyond_those_that_are_told_are_summed_up(tmp_path: Path) -> None:
    names = [*(f"wool-{n % (MAX_NAMED + 50)}" for n in range(2 * MAX_NAMED)), "wool" * 1_000]
    batch = ToyBatch(tmp_path, [chat(str(n), model=name) for n, name in enumerate(names)], (FREE,))
    figures = count(PlanJob(batch.split_job(), frozenset({CHAT})))
    *told, others = figures.targets
    assert len(told) == MAX_NAMED
    assert {target.model for target in told} == set(names[:MAX_NAMED])
    assert (others.model, others.lines, others.jobs) == (None, 51, 1)
    assert sum(target.lines for target in figures.targets) == len(names)
    assert figures.jobs == 1
    assert sum(target.bytes for target in figures.targets) == batch.split().parts[0].bytes
