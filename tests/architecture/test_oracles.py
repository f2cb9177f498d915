"""The pieces of the judges that need no litellm: lines, differences, verdicts. `make test-oracles` runs the judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from tests.oracles import embedding_lines, responses_lines
from tests.oracles.lines import CONVERSATIONS, bodies, encoded, spoken
from tests.oracles.meaning import REFUSED, Json, Known, Pair, Tally


def pair(ours: Json, theirs: Json, given: Json | None = None) -> Pair:
    return Pair(given or {}, "m", ours, theirs)


def test_the_same_seed_gives_the_same_varied_lines() -> None:
    lines = [json.dumps(body) for body in bodies(500, 3)]
    assert lines == [json.dumps(body) for body in bodies(500, 3)]
    assert lines != [json.dumps(body) for body in bodies(500, 4)]
    assert len(set(lines)) > 450
    parameters = {key for line in lines for key in json.loads(line)}
    assert parameters >= {"tools", "tool_choice", "response_format", "reasoning_effort", "stop", "n", "logprobs"}


@pytest.mark.parametrize(
    ("lines", "parameters"),
    [
        (spoken, {"messages", "stop", "n", "logprobs", "response_format", "temperature", "top_k"}),
        (embedding_lines.bodies, {"input", "dimensions", "encoding_format", "task_type", "input_type"}),
        (responses_lines.bodies, {"input", "tools", "tool_choice", "text", "reasoning", "previous_response_id"}),
    ],
)
def test_every_endpoint_has_varied_lines(lines: Callable[[int, int], Iterator[Json]], parameters: set[str]) -> None:
    found = [json.dumps(body) for body in lines(500, 3)]
    assert found == [json.dumps(body) for body in lines(500, 3)]
    assert len(set(found)) > 250
    assert {key for line in found for key in json.loads(line)} >= parameters


def test_lines_for_prompts_hold_texts_alone() -> None:
    for body in spoken(200, 5):
        assert not body.get("tools")
        assert "image_url" not in json.dumps(body["messages"])


def test_only_bodies_that_can_be_answered_are_answered() -> None:
    answers = list(responses_lines.results(100, 5))
    assert len(answers) > 100
    for each in answers:
        assert to_chat(json.dumps(each["request"]).encode(), drop_params=True).body
        assert each["completion"]["choices"]


def test_every_kind_of_conversation_is_among_the_first_lines() -> None:
    roles = [tuple(message["role"] for message in body["messages"]) for body in bodies(len(CONVERSATIONS), 1)]
    assert {"system", "developer", "user", "assistant", "tool"} <= {role for line in roles for role in line}


def refusal(body: Json) -> str | None:
    try:
        to_messages(encoded(body, "claude-haiku-4-5"), model=None, drop_params=True)
    except LineRejected as error:
        return error.param or ""
    return None


def test_most_lines_can_be_translated_and_the_others_are_refused_by_name() -> None:
    refusals = [found for body in bodies(200, 5) if (found := refusal(body)) is not None]
    assert 0 < len(refusals) < 60
    assert all(refusals)


@pytest.mark.parametrize(
    ("ours", "theirs", "paths"),
    [
        ({"a": 1, "b": [1, {"c": "x"}]}, {"a": 1.0, "b": [1, {"c": "x"}]}, set()),
        ({"a": 1}, {"a": True}, {"a"}),
        ({"a": {}}, {"a": []}, {"a"}),
        ({"a": {"b": 1}}, {}, {"a.b", ""}),
        ({"a": [1, 2]}, {"a": [1]}, {"a[1]"}),
        ({REFUSED: "n"}, {REFUSED: "ValueError"}, set()),
        ({REFUSED: "n"}, {"a": 1}, {REFUSED, "a"}),
    ],
)
def test_differences_are_told_by_path(ours: Json, theirs: Json, paths: set[str]) -> None:
    assert set(pair(ours, theirs).unlike()) == paths


def test_only_a_known_difference_is_explained_and_only_as_far_as_it_goes() -> None:
    known = Known("a is ours", "why", "page", lambda pair: pair.ours.update(a=pair.theirs["a"]))
    tally = Tally()
    tally.add(pair({"a": 1, "b": 1}, {"a": 2, "b": 1}), [known])
    tally.add(pair({"a": 1, "b": 1}, {"a": 2, "b": 2}), [known])
    tally.add(pair({"a": 2}, {"a": 2}), [known])
    assert (tally.lines, tally.equal, tally.shown["a is ours"]) == (3, 1, 2)
    assert [set(left) for _, left in tally.findings] == [{"b"}]


def test_a_known_difference_that_no_line_shows_is_stale() -> None:
    known = Known("gone", "why", "page", lambda _pair: None)
    tally = Tally()
    tally.add(pair({"a": 1}, {"a": 2}), [known])
    assert tally.stale([known]) == ["gone"]
    assert len(tally.findings) == 1
