"""Lines out and results in, for every family of models on Vertex AI, and whose a result is."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import (
    JobState,
    LineIn,
    LineRejected,
    Native,
    PartFile,
    Refused,
    Row,
    Target,
    TryLater,
    native_id,
)
from proxy_plugin.providers.formats.gemini.own_words import GENERATE
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.lanes.vertex_ai import lost_ids, records, refusals
from proxy_plugin.providers.lanes.vertex_ai.lane import VERTEX_AI
from proxy_plugin.providers.lanes.vertex_ai.rows import MOST_UNITS, UNITS, family, resource, results_name, whose

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MARK = "abcdefghij"
ID = native_id(MARK, 100)
GEMINI, CLAUDE, OPEN = "gemini-2.5-flash", "claude-haiku-4-5@20251001", "meta/llama-3.3-70b-instruct-maas"
VECTOR, OLDER = "gemini-embedding-001", "text-embedding-005"
FACTS = {"ended": "1796000000", "model": GEMINI}
SOURCE = results_name("pp-x/out/predictions.jsonl", FACTS)
PLACE = "projects/p/locations/l"
PART = PartFile(MARK, Path("none"), 1, 3, "", CHAT, GEMINI)
MESSAGES = [{"role": "user", "content": "hi"}]
GEMINI_SAYS = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 11, "totalTokenCount": 19},
    "modelVersion": GEMINI,
}
CLAUDE_SAYS = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "yes"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 8, "output_tokens": 11},
}
OPEN_SAYS = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 11, "total_tokens": 19},
}
CLAUDES_FAULT = {"type": "error", "error": {"type": "invalid_request_error", "message": "The request is no good."}}
FAULT = {"error": {"code": 400, "message": "The request is no good.", "status": "INVALID_ARGUMENT"}}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ANY_TEXT = st.text(st.characters(exclude_categories=[]))


def translate(model: str, endpoint: str = CHAT, target: Target = Target(), **body: Any) -> Native:  # noqa: B008
    said: dict[str, Any] = {"input": "hi"} if endpoint == EMBEDDINGS else {"messages": MESSAGES}
    text = json.dumps({"model": model, **said, **body}, indent=1).encode()
    return VERTEX_AI.translate(LineIn(ID, endpoint, text, model), target)


def row(fields: dict[str, Any], endpoint: str = CHAT, source: str = SOURCE) -> Row:
    found = VERTEX_AI.row(json.dumps(fields).encode(), source, endpoint)
    assert found is not None
    assert (found.response is None) != (found.error is None)
    return found


def body_of(found: Row) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(found.response or b"")["body"]
    return body


# Models


@pytest.mark.parametrize(
    ("model", "path", "kind"),
    [
        (GEMINI, f"publishers/google/models/{GEMINI}", "gemini"),
        (CLAUDE, f"publishers/anthropic/models/{CLAUDE}", "claude"),
        ("anthropic.claude-haiku-4-5", "publishers/anthropic/models/claude-haiku-4-5", "claude"),
        (OPEN, "publishers/meta/models/llama-3.3-70b-instruct-maas", "open"),
        ("publishers/qwen/models/qwen3-235b", "publishers/qwen/models/qwen3-235b", "open"),
        ("models/123@2", f"{PLACE}/models/123@2", "gemini"),
        ("endpoints.456", f"{PLACE}/endpoints/456", "gemini"),
        ("projects/x/locations/y/models/7", "projects/x/locations/y/models/7", "gemini"),
    ],
)
def test_a_model_has_its_path_and_its_words(model: str, path: str, kind: str) -> None:
    assert (resource(model, PLACE), family(model, CHAT)) == (path, kind)


@pytest.mark.parametrize("name", ["../x", "a b", "a//b", "a/../b", "publishers/", "", "x" * 300, "a?b", "/x", "x/"])
def test_a_model_that_cannot_stand_in_a_path_is_refused(name: str) -> None:
    with pytest.raises(LineRejected) as caught:
        VERTEX_AI.translate(LineIn(ID, CHAT, b"{}", name), Target())
    assert caught.value.param == "model"


def test_each_family_has_its_own_bound_of_lines() -> None:
    most = {kind: MOST_UNITS // units for kind, units in UNITS.items()}
    assert most == {"gemini": 200_000, "claude": 200_000, "open": 200_000, "vector": 1_000_000, "legacy": 30_000}
    assert translate(OLDER, EMBEDDINGS).inputs == UNITS["legacy"]


# Out


def test_a_line_of_gemini_has_our_id_twice() -> None:
    native = json.loads(translate(GEMINI, max_tokens=9).data)
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    config = {"maxOutputTokens": 9}
    assert native == {
        "key": ID,
        "request": {"contents": contents, "generationConfig": config, "labels": {"pp": ID}},
    }


def test_labels_of_the_caller_stay() -> None:
    assert json.loads(translate(GEMINI, labels={"team": "a"}).data)["request"]["labels"] == {"team": "a", "pp": ID}
    said = [{"role": "user", "content": 'a text about "labels"'}]
    assert json.loads(translate(GEMINI, messages=said).data)["request"]["labels"] == {"pp": ID}


def test_a_line_of_claude_names_no_model() -> None:
    native = json.loads(translate(CLAUDE, max_tokens=9).data)
    request = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": MESSAGES}
    assert native == {"custom_id": ID, "request": request}


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses", "/v1/completions"])
def test_a_line_of_an_open_model_is_openais(endpoint: str) -> None:
    body = {CHAT: {}, "/v1/responses": {"input": "hi"}, "/v1/completions": {"prompt": "hi"}}[endpoint]
    text = json.dumps({"model": "any", **({"messages": MESSAGES} if endpoint == CHAT else body)}).encode()
    native = json.loads(VERTEX_AI.translate(LineIn(ID, endpoint, text, OPEN), Target()).data)
    assert native["body"].pop("messages")[-1]["content"] == "hi"
    native["body"].pop("max_tokens", None)  # 16, where completions name none
    assert native == {"custom_id": ID, "method": "POST", "url": CHAT, "body": {"model": OPEN}}


def test_an_embedding_holds_one_text_and_its_options_where_they_are_wanted() -> None:
    beside = json.loads(translate(VECTOR, EMBEDDINGS, dimensions=512).data)
    assert beside == {"key": ID, "request": {"content": {"parts": [{"text": "hi"}]}, "output_dimensionality": 512}}
    within = json.loads(translate(VECTOR, EMBEDDINGS, dimensions=512, embed_content_config=True).data)
    config = {"output_dimensionality": 512}
    assert within["request"] == {"content": {"parts": [{"text": "hi"}]}, "embed_content_config": config}
    assert json.loads(translate(OLDER, EMBEDDINGS).data) == {"key": ID, "content": "hi"}
    assert translate(VECTOR, EMBEDDINGS, encoding_format="base64").partition == "base64"
    with pytest.raises(LineRejected, match="a line of its own"):
        translate(VECTOR, EMBEDDINGS, input=["a", "b"])


def test_what_is_lost_is_refused_or_noted() -> None:
    for model in (GEMINI, CLAUDE):
        with pytest.raises(LineRejected) as caught:
            translate(model, logit_bias={"5": 1})
        assert caught.value.param == "logit_bias"
        assert "logit_bias" in translate(model, target=Target(drop_params=True), logit_bias={"5": 1}).dropped
    with pytest.raises(LineRejected):
        VERTEX_AI.translate(LineIn(ID, "/v1/moderations", b"{}", GEMINI), Target())


@given(ANY_TEXT, st.sampled_from([GEMINI, CLAUDE, OPEN]))
def test_any_text_goes_out_as_utf_8_on_one_line(text: str, model: str) -> None:
    native = translate(model, messages=[{"role": "user", "content": text.strip() or "x"}])
    assert b"\n" not in native.data
    msgspec.json.decode(native.data)  # which refuses halves of characters, as strict readers do
    assert whose(
        {name: bytes(raw) for name, raw in msgspec.json.decode(native.data, type=dict[str, msgspec.Raw]).items()}
    )


# In


@pytest.mark.parametrize("said", [GEMINI_SAYS, CLAUDE_SAYS, OPEN_SAYS, {"status_code": 200, "body": OPEN_SAYS}])
@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses", "/v1/completions"])
def test_an_answer_of_any_family_is_one_of_the_endpoint(said: dict[str, Any], endpoint: str) -> None:
    found = row({"custom_id": ID, "status": "", "response": said}, endpoint)
    assert (found.native_id, found.ok) == (ID, True)
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (8, 11)
    assert "yes" in json.dumps(body_of(found))


def test_an_answer_may_stand_inside_of_a_text() -> None:
    assert row({"key": ID, "response": json.dumps(GEMINI_SAYS)}).ok


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ID, "status": f"Bad Request: {json.dumps(FAULT)}", "response": {}},
        {"key": ID, "status": json.dumps(FAULT), "response": None},
        {"key": ID, "error": FAULT["error"]},
        {"key": ID, "status": "", "response": FAULT},
        {"custom_id": ID, "status": json.dumps(CLAUDES_FAULT), "response": None},
    ],
)
def test_a_fault_in_any_form_is_an_error_of_its_line(fields: dict[str, Any]) -> None:
    found = row(fields)
    assert (found.native_id, found.ok, found.code) == (ID, False, "400")
    assert body_of(found)["error"]["message"] == "The request is no good."


def test_what_says_nothing_is_an_error_too() -> None:
    assert row({"key": ID, "status": "", "response": {}}).code == "empty_result"
    assert row({"key": ID, "status": {"code": 1, "message": "CANCELED"}}).code == "batch_cancelled"


def test_a_blocked_prompt_has_a_choice() -> None:
    choice = body_of(row({"key": ID, "response": {"promptFeedback": {"blockReason": "SAFETY"}}}))["choices"][0]
    assert choice["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ID},
        {"custom_id": ID},
        {"requestId": ID},
        {"request": {"labels": {"pp": ID}}},
        {"request": {"key": ID}},
        {"instance": {"key": ID}, "predictions": []},
        {"key": "something else", "request": {"labels": {"pp": ID}}},
        {"key": None, "custom_id": 7, "request": {"labels": {"pp": ID}}},
    ],
)
def test_an_id_is_taken_from_wherever_it_came_back(fields: dict[str, Any]) -> None:
    assert row({**fields, "status": "gone"}).native_id == ID


def test_a_row_without_an_id_is_corrupt_and_a_blank_one_nothing() -> None:
    assert VERTEX_AI.row(b" \n", SOURCE, CHAT) is None
    with pytest.raises(ValueError, match="without an id"):
        row({"response": GEMINI_SAYS})
    assert row({"key": "strangers", "response": GEMINI_SAYS}).native_id == "strangers"


@given(st.dictionaries(st.sampled_from(["status", "error", "response", "request", "predictions"]), JSON_VALUES))
def test_whatever_a_row_holds_it_is_one_of_its_line(fields: dict[str, Any]) -> None:
    for endpoint in (CHAT, EMBEDDINGS):
        assert row({"key": ID, **fields}, endpoint).native_id == ID


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_a_row_or_corrupt(line: bytes) -> None:
    with suppress(ValueError):
        VERTEX_AI.row(line, SOURCE, CHAT)


@given(st.dictionaries(st.sampled_from(["ended", "vectors", "model"]), st.text(max_size=20)))
def test_a_name_of_results_is_a_name_of_a_file(facts: dict[str, str]) -> None:
    name = results_name("any/key", facts)
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isascii()


def test_a_request_in_geminis_own_words_stays_and_its_answer_too() -> None:
    body = b'{"model": "m", "contents":[{"parts":[{"text":"hi"}]}], "x": 1.0e0}'
    native = VERTEX_AI.translate(LineIn(ID, GENERATE, body, GEMINI), Target())
    own = ID.encode()
    request = b'{"contents":[{"parts":[{"text":"hi"}]}],"x":1.0e0,"labels":{"pp":"%b"}}' % own
    assert native.data == b'{"key":"%b","request":%b}' % (own, request)
    for model, words in ((CLAUDE, "only Geminis"), (GEMINI, "contents")):
        with pytest.raises(LineRejected, match=words):
            VERTEX_AI.translate(LineIn(ID, GENERATE, b'{"messages":[]}', model), Target())
    assert body_of(row({"key": ID, "response": GEMINI_SAYS}, GENERATE)) == GEMINI_SAYS
    for told in ({"response": FAULT}, {"status": FAULT["error"]}, {"error": FAULT["error"]}):
        assert body_of(row({"key": ID, **told}, GENERATE)) == FAULT


# Rows that lost their ids


def known_again(document: Path, output: Path) -> list[bytes]:
    return list(lost_ids.rows(document, {"own": str(output), "outputs": json.dumps([str(output)])}))


def restored(folder: Path, sent: list[dict[str, Any]], back: list[dict[str, Any]]) -> list[str | None]:
    document, output = folder / "input", folder / "output"
    document.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in sent))
    output.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in back))
    rows = [json.loads(line) for line in known_again(document, output)]
    assert [{**each, "key": None} for each in rows] == [{**each, "key": None} for each in back]
    return [each.get("key") for each in rows]


def line(n: int, **request: Any) -> dict[str, Any]:
    own = native_id(MARK, n)
    return {"key": own, "request": {**request, "labels": {"pp": own}}}


def test_a_request_is_known_in_another_spelling(tmp_path: Path) -> None:
    sent = [line(n, contents=[{"parts": [{"text": f"t{n}"}]}], generationConfig={"topP": 1}) for n in range(3)]
    back: list[dict[str, Any]] = [
        {"request": {"contents": [{"parts": [{"text": "t1"}]}], "generation_config": {"top_p": 1.0}, "tools": []}},
        {"request": {"generationConfig": {"topP": 1}, "contents": [{"parts": [{"text": "t0"}]}]}},
        {"request": {"contents": [{"parts": [{"text": "t9"}]}]}},
    ]
    assert restored(tmp_path, sent, back) == [native_id(MARK, 1), native_id(MARK, 0), None]


@pytest.mark.parametrize("odd", [b"[" * 600 + b"]" * 600, b'"\\ud800"'])
def test_an_echo_without_a_hash_stays_as_it_is(tmp_path: Path, odd: bytes) -> None:
    row = b'{"request":{"contents":' + odd + b"}}\n"
    sent = b'{"key":"' + native_id(MARK, 0).encode() + b'","request":{"contents":' + odd + b"}}\n"
    (tmp_path / "document").write_bytes(sent)
    (tmp_path / "rows").write_bytes(row)
    assert known_again(tmp_path / "document", tmp_path / "rows") == [row.rstrip()]


def test_a_number_beyond_floats_is_known_again(tmp_path: Path) -> None:
    sent = b'{"key":"' + native_id(MARK, 0).encode() + b'","request":{"contents":1e400}}\n'
    (tmp_path / "document").write_bytes(sent)
    (tmp_path / "rows").write_bytes(b'{"request":{"contents":1e400}}\n')
    [row] = known_again(tmp_path / "document", tmp_path / "rows")
    assert native_id(MARK, 0).encode() in row


def test_requests_that_differ_in_their_spelling_alone_are_never_mixed_up(tmp_path: Path) -> None:
    sent = [line(0, tools={"user_id": 1}), line(1, tools={"userId": 1})]
    back = [{"request": {"tools": {"userId": 1}}}, {"request": {"tools": {"USERID": 1}}}]
    assert restored(tmp_path, sent, back) == [native_id(MARK, 1), None]


def test_equal_requests_have_as_many_rows_as_lines(tmp_path: Path) -> None:
    sent = [line(n, contents="same") for n in range(3)]
    back = [{"request": {"contents": "same"}}, {**sent[0], "response": 1}, *[{"request": {"contents": "same"}}] * 2]
    found = restored(tmp_path, sent, back)
    assert sorted(filter(None, found)) == [native_id(MARK, n) for n in range(3)]
    assert found[3] is None


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON_VALUES, min_size=1, max_size=3), max_size=4), st.randoms())
def test_every_request_finds_a_line_like_it(requests: list[dict[str, Any]], chance: Any) -> None:
    sent = [line(n, body=each) for n, each in enumerate(requests)]
    back = [{"request": {"body": each}} for each in requests]
    chance.shuffle(back)
    with tempfile.TemporaryDirectory() as folder:
        found = restored(Path(folder), sent, back)
    assert sorted(filter(None, found)) == [each["key"] for each in sent]
    by_id = {each["key"]: each["request"]["body"] for each in sent}
    assert all(by_id[own or ""] == each["request"]["body"] for own, each in zip(found, back, strict=True))


# Records


NAMES = st.sampled_from(
    ["state", "completionStats", "outputInfo", "displayName", "labels", "inputConfig", "endTime", "error", "name"]
)


@given(st.dictionaries(NAMES, JSON_VALUES))
def test_whatever_a_job_tells_is_read_or_not_understood(job: dict[str, Any]) -> None:
    assert all(count is None or 0 <= count <= PART.lines for count in records.counts_of(job, PART))
    for read in (records.mark_of, records.output_of, records.ended_at, records.id_in):
        assert isinstance(read(job), str | None)
    assert isinstance(records.inputs_of(job), list)
    try:
        state, end = records.state_of(job)
    except TryLater:
        return
    assert (state is JobState.ENDED) is (end is not None)


@pytest.mark.parametrize("word", ["UNSPECIFIED", "", "JOB_STATE_NEW_ONE", None, 7])
def test_a_state_that_is_not_known_is_asked_for_again(word: object) -> None:
    with pytest.raises(TryLater):
        records.state_of({"state": word})


@pytest.mark.parametrize(
    ("error", "lines", "divisible"),
    [
        ({"code": 3, "message": "line 2: contents is not specified"}, [2], True),
        ({"code": 3, "message": "The input is no JSONL."}, [], True),
        ({"code": 7, "message": "denied"}, [], False),
        ({"code": 8, "message": "quota"}, [], False),
        ("no object", [], False),
    ],
)
async def test_the_error_of_a_job_says_whether_lines_are_its_reason(
    error: object, lines: list[int], *, divisible: bool
) -> None:
    http = Http()
    found: Refused = refusals.of_job(http.origin("a", "https://vertex.example", {}), error)
    await http.close()
    assert ([each.record for each in found.lines], found.divisible) == (lines, divisible)
