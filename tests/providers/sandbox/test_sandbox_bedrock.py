"""Bedrock's stand-in, driven by AWS's own SDK: jobs, the S3 beside them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.bedrock.stand_in import BUCKET, ROLE, STAND_IN
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from tests.support.waiting import until

boto3 = pytest.importorskip("boto3")
ERRORS = pytest.importorskip("botocore.exceptions")
CLAUDE = STAND_IN.model


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(providers=["bedrock"], options={"bedrock": STAND_IN.quick}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.control.reset()
    return running


def client(sandbox: Sandbox, service: str, *, session: bool = False, **more: Any) -> Any:
    place = {"bedrock": "", "bedrock-runtime": "", "s3": "/s3"}[service]
    given = {**access_key(DEFAULT_KEY, session=session), **more}
    config = boto3.session.Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    return boto3.client(
        service, endpoint_url=sandbox.url("bedrock") + place, region_name="us-east-1", config=config, **given
    )


def line(record: str, text: str = "hello") -> dict[str, Any]:
    said = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    return {
        "recordId": record,
        "modelInput": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": said},
    }


def put(sandbox: Sandbox, *records: dict[str, Any]) -> str:
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    client(sandbox, "s3").put_object(Bucket=BUCKET, Key="in/a-b.jsonl", Body=data)
    return f"s3://{BUCKET}/in/a-b.jsonl"


def order(uri: str, **more: Any) -> dict[str, Any]:
    return {
        "jobName": "nightly",
        "roleArn": ROLE,
        "modelId": CLAUDE,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
        **more,
    }


def code(refused: Any) -> str:
    return str(refused.value.response["Error"]["Code"])


@pytest.mark.parametrize("session", [False, True])
def test_a_job_runs_from_its_document_to_records_and_manifest(sandbox: Sandbox, *, session: bool) -> None:
    jobs, store = client(sandbox, "bedrock", session=session), client(sandbox, "s3", session=session)
    uri = put(sandbox, *(line(f"r{n}") for n in range(4)), line("r4", "[[sandbox:error=400]]"))
    made = jobs.create_model_invocation_job(**order(uri))["jobArn"]
    job = jobs.get_model_invocation_job(jobIdentifier=made)
    assert job["status"] in {"Submitted", "Validating", "Scheduled", "InProgress", "Completed"}

    def ended() -> list[Any]:
        found = jobs.get_model_invocation_job(jobIdentifier=made.rpartition("/")[2])
        return [found] if found["status"] == "Completed" else []

    (job,) = until(ended, "the job's end")
    assert (job["successRecordCount"], job["errorRecordCount"], job["totalRecordCount"]) == (4, 1, 5)
    place = f"out/{made.rpartition('/')[2]}/"
    listed = [each["Key"] for each in store.list_objects_v2(Bucket=BUCKET, Prefix=place)["Contents"]]
    assert listed == [f"{place}a-b.jsonl.out", f"{place}manifest.json.out"]
    rows = [json.loads(row) for row in store.get_object(Bucket=BUCKET, Key=listed[0])["Body"].iter_lines()]
    assert sorted(row["recordId"] for row in rows) == [f"r{n}" for n in range(5)]
    assert [row["recordId"] for row in rows] != [f"r{n}" for n in range(5)]
    assert all(row["modelInput"]["messages"] for row in rows)
    assert sum("error" in row for row in rows) == 1
    manifest = json.load(store.get_object(Bucket=BUCKET, Key=listed[1])["Body"])
    assert manifest["successRecordCount"] == 4
    assert [each["jobArn"] for each in jobs.list_model_invocation_jobs(nameContains="ight")["invocationJobSummaries"]]
    assert jobs.list_model_invocation_jobs(nameContains="other")["invocationJobSummaries"] == []
    with pytest.raises(ERRORS.ClientError) as late:
        jobs.stop_model_invocation_job(jobIdentifier=made)
    assert code(late) == "ConflictException"


def test_a_token_makes_one_job(sandbox: Sandbox) -> None:
    jobs, uri = client(sandbox, "bedrock"), put(sandbox, line("r0"))
    made = {jobs.create_model_invocation_job(**order(uri, clientRequestToken="one"))["jobArn"] for _ in range(2)}
    assert len(made) == len(sandbox.control.log()) == 1
    with pytest.raises(ERRORS.ClientError) as other:
        jobs.create_model_invocation_job(**order(uri, clientRequestToken="one", jobName="another"))
    assert code(other) == "ConflictException"


def test_a_small_job_fails_and_says_why(sandbox: Sandbox) -> None:
    sandbox.control.options("bedrock", min_records=100)
    jobs = client(sandbox, "bedrock")
    made = jobs.create_model_invocation_job(**order(put(sandbox, line("r0"))))["jobArn"]

    def failed() -> str:
        found = jobs.get_model_invocation_job(jobIdentifier=made)
        assert found["totalRecordCount"] == 0 or found["status"] == "Failed"
        return str(found.get("message", ""))

    assert "minimum of 100 records" in until(failed, "the failure")


def test_a_large_object_goes_up_in_parts(sandbox: Sandbox) -> None:
    store = client(sandbox, "s3")
    upload = store.create_multipart_upload(Bucket=BUCKET, Key="big")["UploadId"]
    parts = [
        {
            "PartNumber": n,
            "ETag": store.upload_part(Bucket=BUCKET, Key="big", UploadId=upload, PartNumber=n, Body=text)["ETag"],
        }
        for n, text in ((2, b"world"), (1, b"hello "))
    ]
    assert [each["Size"] for each in store.list_parts(Bucket=BUCKET, Key="big", UploadId=upload)["Parts"]] == [6, 5]
    assert [each["Key"] for each in store.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["big"]
    store.complete_multipart_upload(
        Bucket=BUCKET,
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": sorted(parts, key=lambda each: each["PartNumber"])},
    )
    assert store.get_object(Bucket=BUCKET, Key="big")["Body"].read() == b"hello world"
    assert store.head_object(Bucket=BUCKET, Key="big")["ContentLength"] == 11
    store.delete_object(Bucket=BUCKET, Key="big")
    with pytest.raises(ERRORS.ClientError) as gone:
        store.get_object(Bucket=BUCKET, Key="big")
    assert code(gone) == "NoSuchKey"


@pytest.mark.parametrize(
    ("more", "of_jobs", "of_store"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException", "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "AKIA0000000000000000"}, "UnrecognizedClientException", "InvalidAccessKeyId"),
        ({"aws_session_token": "somebody's"}, "UnrecognizedClientException", "InvalidAccessKeyId"),
    ],
)
def test_who_is_not_known_is_refused(sandbox: Sandbox, more: dict[str, Any], of_jobs: str, of_store: str) -> None:
    with pytest.raises(ERRORS.ClientError) as refused:
        client(sandbox, "bedrock", **more).list_model_invocation_jobs()
    assert code(refused) == of_jobs
    with pytest.raises(ERRORS.ClientError) as refused:
        client(sandbox, "s3", **more).list_objects_v2(Bucket=BUCKET)
    assert code(refused) == of_store


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"roleArn": "arn:aws:iam::111122223333:role/Other"}, "AccessDeniedException"),
        ({"modelId": "no-such-model"}, "ValidationException"),
        ({"timeoutDurationInHours": 12}, "ValidationException"),
        ({"clientRequestToken": "an_underscore"}, "ValidationException"),
        ({"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://batches/with space"}}}, "ValidationException"),
    ],
)
def test_a_create_is_judged(sandbox: Sandbox, changes: dict[str, Any], wrong: str) -> None:
    jobs = client(sandbox, "bedrock")
    with pytest.raises((ERRORS.ClientError, ERRORS.ParamValidationError)) as refused:
        jobs.create_model_invocation_job(**order(put(sandbox, line("r0")), **changes))
    assert isinstance(refused.value, ERRORS.ParamValidationError) or code(refused) == wrong
    assert sandbox.control.log() == []


WEATHER = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {"city": {}}}}}}


def turn(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [{"text": text}]}


@pytest.mark.parametrize("session", [False, True])
def test_calls_are_answered_and_logged_by_what_was_said(sandbox: Sandbox, *, session: bool) -> None:
    sandbox.control.options("bedrock", answers="echo")
    runtime = client(sandbox, "bedrock-runtime", session=session)
    config = {"maxTokens": 9, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]}
    asked = {"modelId": CLAUDE, "messages": [turn("hi")], "system": [{"text": "s"}], "inferenceConfig": config}
    answers = [runtime.converse(**asked) for _ in range(2)]
    assert {each["output"]["message"]["content"][0]["text"] for each in answers} == {"echo: hi"}
    (spent,) = {tuple(sorted(each["usage"].items())) for each in answers}
    assert dict(spent)["totalTokens"] == dict(spent)["inputTokens"] + dict(spent)["outputTokens"] > 2
    assert answers[0]["stopReason"] == "end_turn"
    cut = runtime.converse(**{**asked, "inferenceConfig": {"maxTokens": 1}})
    assert (cut["stopReason"], cut["output"]["message"]["content"]) == ("max_tokens", [{"text": "echo"}])
    assert [(each["op"], each["id"]) for each in sandbox.control.requests()] == [("call.converse", "hi")] * 3
    assert sandbox.control.log() == []


def test_a_call_may_have_tools_which_a_job_may_not(sandbox: Sandbox) -> None:
    runtime = client(sandbox, "bedrock-runtime")
    choices: list[dict[str, Any]] = [{"any": {}}, {"tool": {"name": "weather"}}]
    for choice in choices:
        offered = {"tools": [WEATHER], "toolChoice": choice}
        answer = runtime.converse(modelId=CLAUDE, messages=[turn("hi")], toolConfig=offered)
        (block,) = answer["output"]["message"]["content"]
        assert (answer["stopReason"], block["toolUse"]["name"]) == ("tool_use", "weather")
        assert list(block["toolUse"]["input"]) == ["city"]
    answer = runtime.converse(modelId=CLAUDE, messages=[turn("hi")], toolConfig={"tools": [WEATHER]})
    assert answer["stopReason"] == "end_turn"


def invoked(sandbox: Sandbox, model: str, body: dict[str, Any]) -> dict[str, Any]:
    runtime = client(sandbox, "bedrock-runtime")
    answer = runtime.invoke_model(modelId=model, body=json.dumps(body), contentType="application/json")
    return dict(json.load(answer["body"]))


def test_a_call_may_have_the_models_own_body(sandbox: Sandbox) -> None:
    said = line("r0")["modelInput"]
    assert invoked(sandbox, CLAUDE, said)["stop_reason"] == "end_turn"
    assert invoked(sandbox, "amazon.titan-embed-text-v2:0", {"inputText": "hi"})["embedding"]
    for model, body in ((CLAUDE, {**said, "stream": True}), ("amazon.titan-embed-text-v2:0", {"input": "hi"})):
        with pytest.raises(ERRORS.ClientError) as refused:
            invoked(sandbox, model, body)
        assert code(refused) == "ValidationException"


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": []},
        {"messages": [turn("hi", "assistant")]},
        {"messages": [turn("hi"), turn("ho")]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"system": "s"},
        {"inferenceConfig": {"maxTokens": 0}},
        {"inferenceConfig": {"temperature": 1.5}},
        {"inferenceConfig": {"topK": 5}},
        {"inferenceConfig": {"stopSequences": [""]}},
        {"toolConfig": {"tools": []}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "weather"}}]}},
        {"toolConfig": {"tools": [WEATHER], "toolChoice": "auto"}},
        {"modelId": "no-such-model"},
        {"model": CLAUDE},
    ],
)
def test_a_call_is_judged(sandbox: Sandbox, changes: dict[str, Any]) -> None:
    runtime = client(sandbox, "bedrock-runtime")
    asked = {"modelId": CLAUDE, "messages": [turn("hi")], **changes}
    model = asked.pop("modelId")

    def as_it_is(params: dict[str, Any], **_: Any) -> None:  # the SDK would refuse some of them itself
        params["body"] = json.dumps(asked).encode()

    runtime.meta.events.register("before-call.bedrock-runtime.Converse", as_it_is)
    with pytest.raises(ERRORS.ClientError) as refused:
        runtime.converse(modelId=model, messages=[turn("hi")])
    assert code(refused) == ("SerializationException" if "model" in changes else "ValidationException")


def test_calls_fail_as_they_are_told(sandbox: Sandbox) -> None:
    runtime = client(sandbox, "bedrock-runtime")
    for status, wrong in ((429, "ThrottlingException"), (424, "ModelErrorException")):
        with pytest.raises(ERRORS.ClientError) as refused:
            runtime.converse(modelId=CLAUDE, messages=[turn(f"[[sandbox:error={status}]]")])
        assert (code(refused), refused.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (wrong, status)
    sandbox.control.faults([{"on": "call.converse", "kind": "status", "status": 503}])
    with pytest.raises(ERRORS.ClientError) as refused:
        runtime.converse(modelId=CLAUDE, messages=[turn("hi")])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    with pytest.raises(ERRORS.ClientError) as refused:
        client(sandbox, "bedrock-runtime", aws_secret_access_key="wrong").converse(
            modelId=CLAUDE, messages=[turn("hi")]
        )
    assert code(refused) == "InvalidSignatureException"
