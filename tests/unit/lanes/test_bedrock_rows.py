"""The pure half of Bedrock's lane: which form a line gets, records out and in, and what refusals mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import (
    JobEnd,
    JobState,
    LineIn,
    LineRejected,
    OutcomeUnknown,
    Refused,
    Target,
    TryLater,
)
from proxy_plugin.providers.formats.bedrock.own_words import MODEL_INPUT
from proxy_plugin.providers.lanes.bedrock import jobs, openai_batch, refusals, rows
from proxy_plugin.providers.lanes.bedrock.accounts import BedrockCredentials

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ID = "0123456789" + "00000abc"
MODELS = (
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.amazon.nova-lite-v1:0",
    "meta.llama3-3-70b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "converse/anthropic.claude-haiku-4-5-20251001-v1:0",
    "openai/qwen.qwen3-32b-v1:0",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def translated(body: dict[str, Any], model: str, endpoint: str = CHAT) -> Any:
    line = LineIn(ID, endpoint, json.dumps(body).encode(), model)
    return rows.request_record(line, Target())


@given(
    st.dictionaries(st.sampled_from(["messages", "tools", "max_tokens", "x"]) | st.text(max_size=6), JSON), st.data()
)
def test_any_body_becomes_one_record_or_is_refused(body: dict[str, Any], data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(MODELS))
    try:
        native = translated({**body, "model": model}, model)
    except LineRejected:
        return
    assert b"\n" not in native.data
    record = json.loads(native.data)
    assert record.get("recordId", record.get("custom_id")) == ID
    assert native.partition in {"InvokeModel", "Converse", "openai"}


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(MODELS))
def test_a_text_survives_and_no_model_stands_in_a_record(text: str, model: str) -> None:
    native = translated({"model": model, "messages": [{"role": "user", "content": text}]}, model)
    record = json.loads(native.data)
    if native.partition == "openai":
        assert record["body"]["messages"][-1]["content"] == text
        assert record["body"]["model"] == rows.bare(model)
    else:
        assert "modelId" not in record["modelInput"]
        assert "model" not in record["modelInput"]
        assert json.dumps(text)[1:-1] in json.dumps(record["modelInput"])


@given(JSON)
def test_any_line_of_results_is_a_row_or_is_corrupt(value: Any) -> None:
    for form in ("InvokeModel", "Converse", "openai"):
        for line in (json.dumps(value), json.dumps({"recordId": ID, "modelOutput": value})):
            try:
                row = rows.result_row(line.encode(), rows.stored_name(0, form, MODELS[0]), CHAT)
            except ValueError:
                continue
            assert row is None or (row.response is None) != (row.error is None)


@pytest.mark.parametrize(
    "model", ["m", "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/0123456789ab"]
)
def test_a_stored_name_keeps_the_model(model: str) -> None:
    name = rows.stored_name(7, "Converse", model, "1796036233")
    assert "/" not in name
    output = {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn"}
    line = json.dumps({"recordId": ID, "modelInput": {"half": "\ud83d"}, "modelOutput": output}).encode()
    row = rows.result_row(line, name, CHAT)
    assert row is not None
    assert row.ok
    assert model.endswith(str(row.model))
    assert json.loads(row.response or b"")["body"]["created"] == 1796036233
    assert rows.result_row(line, "7~Converse~m.jsonl", CHAT), "as an earlier version named them"


def test_an_error_stands_in_place_of_an_answer() -> None:
    name = rows.stored_name(0, "InvokeModel", MODELS[0])
    line = {"recordId": ID, "modelInput": {}, "error": {"errorCode": 429, "errorMessage": "slow down"}}
    row = rows.result_row(json.dumps(line).encode(), name, RESPONSES)
    assert row is not None
    assert (row.ok, row.code) == (False, "429")
    empty = rows.result_row(json.dumps({"recordId": ID, "modelInput": {}}).encode(), name, CHAT)
    assert empty is not None
    assert empty.code == "empty_result"


@given(st.text())
def test_no_unknown_word_ends_a_job(word: str) -> None:
    for states, read in ((jobs.STATES, jobs._state), (openai_batch.STATES, openai_batch._state)):
        if word in states or word.lower() in states:
            continue
        with pytest.raises(TryLater):
            read({"status": word})


def test_the_states_of_the_service_model_are_all_known() -> None:
    assert jobs.STATES.keys() == {
        *("Submitted", "InProgress", "Completed", "Failed", "Stopping", "Stopped", "PartiallyCompleted", "Expired"),
        *("Validating", "Scheduled"),
    }
    assert jobs.STATES["PartiallyCompleted"] == (JobState.ENDED, JobEnd.EXPIRED)


@pytest.mark.parametrize("code", refusals.REMEDIES)
def test_a_refusal_says_what_was_said_and_what_to_do(code: str) -> None:
    found = refusals.told(Refused("The words of AWS.", code=code, status=403, param="p"))
    assert found.message == f"The words of AWS. {refusals.REMEDIES[code]}"
    assert (found.code, found.param) == (code, "p")
    assert found.status == (400 if code == "NoSuchBucket" else 403)
    assert refusals.told(found).message == found.message
    assert refusals.told(Refused(code, code=code)).message == refusals.REMEDIES[code]


def test_what_is_not_known_is_left_as_it_is() -> None:
    error = Refused("something", code="Other", status=400)
    assert refusals.told(error) is error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ConflictException", OutcomeUnknown),
        ("ServiceQuotaExceededException", TryLater),
        ("ThrottlingException", TryLater),
        ("ValidationException", Refused),
        ("AccessDeniedException", Refused),
    ],
)
def test_a_refused_create_means_one_of_three_things(code: str, kind: type[Exception]) -> None:
    assert type(refusals.of_create(Refused("words", code=code, status=400))) is kind


@pytest.mark.parametrize(
    "given",
    [
        {"aws_s3_bucket": "Not_A_Bucket"},
        {"aws_s3_prefix": "with space/"},
        {"aws_s3_prefix": "a:b"},
        {"aws_batch_role_arn": "BedrockBatch"},
        {"aws_batch_timeout_hours": 12},
        {"output_data_config": "gs://elsewhere"},
        {"output_data_config": {"s3OutputDataConfig": {}}},
        {"s3_access_key_id": "AKIA0123456789ABCDEF"},
    ],
)
def test_what_no_job_could_have_is_no_account(given: dict[str, Any]) -> None:
    keys = {"aws_access_key_id": "AKIA0123456789ABCDEF", "aws_secret_access_key": "s" * 40}
    BedrockCredentials.model_validate(keys)
    with pytest.raises(ValueError, match="validation error"):
        BedrockCredentials.model_validate({**keys, **given})


def test_the_environment_fills_the_gaps_of_nobody_who_brings_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets and roles of LiteLLM's variables are the operator's: the configuration alone asks for them."""
    for names in BedrockCredentials.gaps.values():
        for name in names:
            monkeypatch.setenv(name, "operators")
    key = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "secret"}
    brought = BedrockCredentials.model_validate(key)
    assert (brought.aws_s3_bucket, brought.aws_batch_role_arn, brought.aws_region) == (None, None, "us-east-1")


@pytest.mark.parametrize(
    ("window", "said", "hours"),
    [(86_400, None, 24), (3600, None, 24), (90_000, None, 25), (10**7, None, 168), (1, 48, 48)],
)
def test_a_job_may_take_as_long_as_its_batch(window: int, said: int | None, hours: int) -> None:
    given = {"aws_batch_timeout_hours": said, "aws_access_key_id": "AKIA1", "aws_secret_access_key": "secret"}
    assert BedrockCredentials.model_validate(given).hours(window) == hours


@pytest.mark.parametrize(
    ("model", "form"), [("m", "InvokeModel"), ("invoke/m", "InvokeModel"), ("converse/m", "Converse")]
)
def test_an_input_in_the_models_own_words_stays_byte_for_byte(model: str, form: str) -> None:
    body = b'{"model": "m", "anthropic_version":"bedrock-2023-05-31","max_tokens":5, "x": 1.0e0}'
    native = rows.request_record(LineIn(ID, MODEL_INPUT, body, model), Target())
    kept = b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":5,"x":1.0e0}'
    assert native.data == b'{"recordId":"%b","modelInput":%b}' % (ID.encode(), kept)
    assert native.partition.split("-")[0] == form


@pytest.mark.parametrize(
    ("body", "model", "param"), [({}, "m", "body"), ({"a": 1}, "openai/m", "model")], ids=["empty", "openai"]
)
def test_an_input_that_cannot_go_is_refused_by_name(body: dict[str, Any], model: str, param: str) -> None:
    with pytest.raises(LineRejected) as caught:
        translated({"model": model, **body}, model, MODEL_INPUT)
    assert caught.value.param == param


VECTORS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
UNKNOWN = {"results": [{"outputText": "hi"}]}
TYPED = {"embeddings": {"int8": [[1]]}, "response_type": "embeddings_by_type"}


@pytest.mark.parametrize(
    ("output", "answer", "tokens"),
    [
        ({"content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 3}}, {"object": "chat.completion"}, 3),
        ({"generation": "hi", "prompt_token_count": 3}, {"object": "chat.completion"}, 3),
        ({"embedding": [0.5], "inputTextTokenCount": 3}, VECTORS, 3),
        ({"embeddings": {"float": [[0.5]]}}, VECTORS, 0),
        (TYPED, TYPED, 0),
        (UNKNOWN, UNKNOWN, 0),
    ],
    ids=["messages", "llama", "titan", "cohere", "other vectors", "other family"],
)
def test_an_answer_to_such_an_input_is_openais_where_it_can_be(
    output: dict[str, Any], answer: dict[str, Any], tokens: int
) -> None:
    native = translated({"model": "m", "x": 1}, "m", MODEL_INPUT)
    source = rows.stored_name(0, native.partition, "m", "7")
    record = json.dumps({"recordId": ID, "modelOutput": output}).encode()
    found = {endpoint: rows.result_row(record, source, endpoint) for endpoint in (CHAT, MODEL_INPUT)}
    for endpoint, row in found.items():
        assert row is not None
        assert row.ok
        assert row.usage is not None
        assert row.usage.input_tokens == tokens
        body = json.loads(row.response or b"")["body"]
        assert body.items() >= (output if endpoint == MODEL_INPUT else answer).items()
    error = {"errorCode": 400, "errorMessage": "no"}
    refused = rows.result_row(json.dumps({"recordId": ID, "error": error}).encode(), source, MODEL_INPUT)
    assert refused is not None
    assert (refused.code, json.loads(refused.response or b"")["body"]) == ("400", {"error": error})


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("aws_s3_bucket", "mine", True),
        ("aws_s3_bucket", "mine/below", True),
        ("aws_s3_bucket", "mine/elsewhere", False),
        ("output_data_config", "s3://mine/below/", True),
        ("output_data_config", '{"s3OutputDataConfig": {"s3Uri": "s3://mine/below"}}', True),
        ("output_data_config", "s3://mine/", False),
        ("output_data_config", '{"s3OutputDataConfig": {"s3Uri": "s3://mine/below", "s3EncryptionKeyId": "k"}}', False),
        ("output_data_config", "elsewhere", False),
        ("aws_region", "us-east-1", True),
        ("aws_batch_role_arn", "arn:aws:iam::111122223333:role/x", False),
    ],
)
def test_what_a_request_says_may_be_what_the_account_does_anyway(name: str, text: str, same: bool) -> None:
    key = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "secret"}
    own = BedrockCredentials.model_validate({**key, "aws_s3_bucket": "mine", "aws_s3_prefix": "below"})
    assert own.says(name, text) is same
