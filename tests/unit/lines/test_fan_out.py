"""Lines that ask for several answers, on lanes that give one: what is asked for them, and where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.lines.body_changes import Grown, Growth
from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.fan_out.requests import MOST_ANSWERS, MOST_REQUESTS, Fan, Fanned, requests_of
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.manifest import OpenPart
from proxy_plugin.lines.plan_tokens import Estimate
from proxy_plugin.providers.base import LineRejected, Native, native_id, split_native_id, split_request_id
from proxy_plugin.providers.marks import request_id
from tests.toy.toy_batch import TARGET

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
LINE = native_id("0123456789", 7)
MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.0-flash",
    "groq": "llama-3.3-70b",
    "bedrock": "amazon.nova-lite-v1:0",
    "mistral-ai": "mistral-small-latest",
    "openai": "gpt-4o-mini",
    "vertex-ai": "gemini-2.0-flash",
    "x-ai": "grok-4",
}


def lane(provider: str, endpoint: str = CHAT, *, fan_out: bool = True, **more: Any) -> TargetLane:
    return TargetLane(TargetSpec("key", provider, fan_out=fan_out, **more), endpoint)


def chat(model: str, **more: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, **more}
    return json.dumps(body).encode()


def completion(model: str, prompt: Any, **more: Any) -> bytes:
    return json.dumps({"model": model, "prompt": prompt, **more}).encode()


def translated(provider: str, body: bytes, endpoint: str = CHAT, **more: Any) -> Native:
    model = json.loads(body)["model"]
    return lane(provider, endpoint, **more).translate(LINE, body, model, model)


def records(native: Native) -> list[bytes]:
    """Return the records of a lane whose records are separated by line breaks or by commas between objects."""
    return native.data.replace(b'},{"custom_id"', b'}\n{"custom_id"').split(b"\n")


def ids(native: Native) -> list[str]:
    found = [json.loads(record) for record in records(native)]
    return [each.get("custom_id") or each.get("key") or each.get("recordId") for each in found]


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "groq"])
def test_a_lane_that_gives_one_answer_is_asked_so_many_times(provider: str) -> None:
    native, one = translated(provider, chat(MODELS[provider], n=3)), translated(provider, chat(MODELS[provider]))
    assert ids(native) == [request_id(LINE, place, 3) for place in range(3)]
    for place, record in enumerate(records(native)):
        asked = one.data.replace(LINE.encode(), request_id(LINE, place, 3).encode())
        assert json.loads(record) == json.loads(asked)
    assert (requests_of(native), native.inputs, requests_of(one)) == (3, 3, 1)


@pytest.mark.parametrize("provider", ["openai", "mistral-ai", "x-ai"])
def test_a_lane_that_gives_several_gets_the_line_as_it_is(provider: str) -> None:
    native = translated(provider, chat(MODELS[provider], n=3))
    assert (ids(native), requests_of(native)) == ([LINE], 1)
    assert json.loads(native.data)["body"]["n"] == 3


@pytest.mark.parametrize("provider", sorted(MODELS.keys() - {"groq"}))
def test_prompts_of_one_line_are_asked_in_their_order_each_n_times(provider: str) -> None:
    prompts = ["eins", "zwei", 'half of an emoji \ud83d "']
    native = translated(provider, completion(MODELS[provider], prompts, n=2), COMPLETIONS)
    if provider == "openai":
        assert (ids(native), requests_of(native)) == ([LINE], 1)
        return
    assert ids(native) == [request_id(LINE, place, 6) for place in range(6)]
    said = [record.decode() for record in records(native)]
    assert ["eins" in each for each in said] == [True, True, False, False, False, False]
    assert ["zwei" in each for each in said] == [False, False, True, True, False, False]
    assert ["emoji" in each for each in said] == [False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("google", "gemini-embedding-001"),
        ("vertex-ai", "gemini-embedding-001"),
        ("bedrock", "amazon.titan-embed-text-v2:0"),
    ],
)
def test_inputs_of_one_line_are_embedded_by_themselves(provider: str, model: str) -> None:
    body = json.dumps({"model": model, "input": ["eins", "zwei"], "encoding_format": "base64"}).encode()
    native = translated(provider, body, EMBEDDINGS)
    assert [each[:22] for each in ids(native)] == [request_id(LINE, place, 2) for place in range(2)]
    assert ["zwei" in each.decode() for each in records(native)] == [False, True]
    with pytest.raises(LineRejected, match="fan_out") as refused:
        translated(provider, body, EMBEDDINGS, fan_out=False)
    assert refused.value.param == "input"


def test_without_the_switch_the_refusal_says_how_it_would_go() -> None:
    for body, endpoint in (
        (chat(MODELS["anthropic"], n=2), CHAT),
        (completion(MODELS["anthropic"], ["a", "b"]), COMPLETIONS),
    ):
        with pytest.raises(LineRejected) as refused:
            translated("anthropic", body, endpoint, fan_out=False)
        assert "'fan_out: true'" in refused.value.message
        assert refused.value.param in ("n", "prompt")


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        pytest.param(chat("claude-sonnet-4-5", n="3"), CHAT, id="n is a text"),
        pytest.param(chat("claude-sonnet-4-5", n=0), CHAT, id="no answer"),
        pytest.param(chat("claude-sonnet-4-5", n=2.5), CHAT, id="half an answer"),
        pytest.param(chat("claude-sonnet-4-5", logprobs=True), CHAT, id="another parameter"),
        pytest.param(completion("claude-sonnet-4-5", [1, 2, 3]), COMPLETIONS, id="token numbers"),
        pytest.param(completion("claude-sonnet-4-5", []), COMPLETIONS, id="no prompt"),
        pytest.param(completion("claude-sonnet-4-5", "a", best_of=3), COMPLETIONS, id="the best of several"),
    ],
)
def test_what_it_does_not_help_is_refused_as_without_it(body: bytes, endpoint: str) -> None:
    said = list[str]()
    for switch in (True, False):
        with pytest.raises(LineRejected) as refused:
            translated("anthropic", body, endpoint, fan_out=switch)
        said.append(refused.value.message)
    assert said[0] == said[1]
    assert "fan_out" not in said[0]


def test_what_else_is_refused_is_told_alone_and_whole() -> None:
    body = chat(MODELS["anthropic"], n=2, logprobs=True, stream=True)
    with pytest.raises(LineRejected) as refused:
        translated("anthropic", body)
    assert set(refused.value.params) == {"logprobs", "stream"}
    with pytest.raises(LineRejected) as refused:
        translated("anthropic", body, fan_out=False)
    assert set(refused.value.params) == {"logprobs", "stream", "n"}


def test_an_empty_prompt_among_others_is_refused() -> None:
    with pytest.raises(LineRejected, match="must be a text that is not empty"):
        translated("anthropic", completion(MODELS["anthropic"], ["a", ""]), COMPLETIONS)


def test_as_many_of_best_of_as_of_n_leave_nothing_to_choose() -> None:
    native = translated("anthropic", completion(MODELS["anthropic"], "a", n=2, best_of=2), COMPLETIONS)
    assert requests_of(native) == 2
    with pytest.raises(LineRejected) as refused:
        translated("anthropic", completion(MODELS["anthropic"], "a", n=2, best_of=3), COMPLETIONS)
    assert refused.value.params == ("best_of",)


@pytest.mark.parametrize(("seed", "seeds"), [(5, [5, 6, 7]), (2**31 - 1, [2**31 - 1, 2**31 - 2, 2**31 - 3])])
def test_each_answer_has_a_seed_of_its_own(seed: int, seeds: list[int]) -> None:
    """With one seed for all of them they would be equal."""
    native = translated("google", completion(MODELS["google"], "a", n=3, seed=seed), COMPLETIONS)
    found = [json.loads(record)["request"]["generationConfig"]["seed"] for record in records(native)]
    assert found == seeds


def test_more_than_is_taken_is_refused_by_name() -> None:
    for body, endpoint, most in (
        (chat(MODELS["anthropic"], n=MOST_ANSWERS + 1), CHAT, MOST_ANSWERS),
        (completion(MODELS["anthropic"], ["a"] * (MOST_REQUESTS + 1)), COMPLETIONS, MOST_REQUESTS),
        (completion(MODELS["anthropic"], ["a"] * 10, n=101), COMPLETIONS, MOST_REQUESTS),
    ):
        with pytest.raises(LineRejected, match=rf"at most {most} ") as refused:
            translated("anthropic", body, endpoint)
        assert refused.value.code == "too_many_answers"
    assert requests_of(translated("anthropic", chat(MODELS["anthropic"], n=MOST_ANSWERS))) == MOST_ANSWERS
    most_prompts = completion(MODELS["anthropic"], ["a"] * MOST_REQUESTS)
    assert requests_of(translated("anthropic", most_prompts, COMPLETIONS)) == MOST_REQUESTS


def test_what_was_dropped_is_noted_once() -> None:
    native = translated("anthropic", chat(MODELS["anthropic"], n=3, logit_bias={"1": 2}), drop_params=True)
    assert native.dropped == ("logit_bias",)


def test_limits_of_a_line_are_those_of_a_request_and_limits_of_a_job_of_all() -> None:
    body = chat(MODELS["anthropic"], n=3)
    size = len(translated("anthropic", chat(MODELS["anthropic"])).data) + 4
    native = translated("anthropic", body)
    lane("anthropic", max_line_bytes=size, max_lines=3).measure(native)
    with pytest.raises(LineRejected, match="max_line_bytes"):
        lane("anthropic", max_line_bytes=size - 1).measure(native)
    with pytest.raises(LineRejected, match="3 requests, and a job has at most 2 "):
        lane("anthropic", max_lines=2).measure(native)


class _Nowhere:
    def append(self, *pieces: bytes) -> None:
        pass

    def finish(self) -> str:
        return ""


@pytest.mark.usefixtures("toys")
def test_a_part_without_room_for_all_requests_takes_none_of_them() -> None:
    target = TargetLane(msgspec.structs.replace(TARGET, max_lines=5), CHAT)
    part = OpenPart(0, "m" * 10, target, model=None, partition="", document=_Nowhere())
    three = Fanned(b"{}", fan=Fan((b"{}",), 3))
    part.add(0, three)
    assert (part.takes(three), part.takes(Native(b"{}"))) == (False, True)
    part.add(1, Native(b"{}"))
    assert part.takes(Native(b"{}"))
    part.add(2, Native(b"{}"))
    assert not part.takes(Native(b"{}"))
    closed = part.close()
    assert (closed.lines, closed.requests, closed.document(Path()).lines) == (3, 5, 5)


def test_a_plan_counts_what_every_request_reads_and_writes() -> None:
    one, all_of_them = Estimate(), Estimate()
    body = chat("m")
    one.add(CHAT, body)
    all_of_them.add_all(CHAT, (body,), 4)
    assert (all_of_them.output, all_of_them.ascii) == (4 * one.output, 4 * one.ascii)
    no_limit = Estimate()
    no_limit.add_all(COMPLETIONS, (b'{"prompt":"a"}', b'{"prompt":"bc"}'), 2)
    assert (no_limit.unlimited, no_limit.ascii) == (1, 6)


def test_requests_count_to_what_a_file_may_grow_to() -> None:
    grown = Grown(Growth(line=100, file=1000))
    grown.check(90, 90)
    grown.fan_out(90, 900)
    with pytest.raises(LineRejected, match="max_file_bytes"):
        grown.fan_out(90, 300)
    grown.check(90, 90)  # a line as it was written always fits


def test_ids_of_lines_and_of_requests_are_told_apart() -> None:
    assert split_request_id(LINE) == ("0123456789", 7, 0, 1)
    assert split_request_id(request_id(LINE, 35, 1000)) == ("0123456789", 7, 35, 1000)
    assert split_native_id(request_id(LINE, 0, 2)) is None
    for wrong in (LINE + "00", LINE + "0001", LINE + "0202", LINE + "0A03", LINE + "-002", LINE[:-1], LINE + "00022"):
        assert split_request_id(wrong) is None


ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
)
NUMBERS = st.integers(-2, 5) | ANYTHING
PROMPTS = st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=4) | st.lists(ANYTHING, max_size=3) | ANYTHING


def check_ids(native: Native, n: Any, prompt: Any) -> None:
    of, prompts = requests_of(native), len(prompt) if isinstance(prompt, list) else 1
    assert ids(native) == ([LINE] if of == 1 else [request_id(LINE, place, of) for place in range(of)])
    assert of == prompts * (n if type(n) is int else 1)


@given(NUMBERS, NUMBERS, PROMPTS, NUMBERS)
def test_any_line_is_refused_or_has_as_many_records_as_requests(n: Any, best_of: Any, prompt: Any, seed: Any) -> None:
    body = completion(MODELS["google"], prompt, n=n, best_of=best_of, seed=seed)
    try:
        native = translated("google", body, COMPLETIONS)
    except LineRejected as refused:
        said = refused.message
    else:
        said = ""
        check_ids(native, n, prompt)
    assert "fan_out" not in said
