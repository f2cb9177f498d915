"""Which record of a job's document a refusal names, in the forms that providers give it; and which name none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.http.connections import Connections
from proxy_plugin.providers.http.origin import Origin
from proxy_plugin.providers.lanes.anthropic import refusals as anthropic
from proxy_plugin.providers.lanes.openai import refusals as openai

ORIGIN = Origin(cast("Connections", SimpleNamespace(carried={})), "account", "https://provider.test", {}, {})
BAD = {"code": "invalid_request", "message": "no", "param": "body.messages"}


def named(refused: Refused) -> tuple[list[int], bool]:
    return [line.record for line in refused.lines], refused.divisible


JOBS: list[tuple[Any, list[int], bool]] = [
    ({"object": "list", "data": [{**BAD, "line": 3}]}, [3], True),
    ({"data": [{**BAD, "line": 1}]}, [1], True),
    ({"data": [{**BAD, "line": "7"}]}, [7], True),
    ([{**BAD, "line": 4}], [4], True),
    ({"data": [{**BAD, "line": 9}, {**BAD, "line": 2}, {**BAD, "line": 9}]}, [2, 9], True),
    ({"data": [{**BAD, "line": None, "message": "JSONL file validation failed: line 2: bad role"}]}, [2], True),
    ("JSONL file validation failed: Line 12: bad role", [12], True),
    ({"message": "row #5 is no JSON"}, [5], True),
    ({"data": [{**BAD, "message": "invalid character: line 1 column 9 (char 8)"}]}, [], True),
    ({"data": [{**BAD, "line": 0}]}, [], True),
    ({"data": [{**BAD, "line": -3}]}, [], True),
    ({"data": [{**BAD, "line": True}]}, [], True),
    ({"data": [{**BAD, "line": None}]}, [], True),
    ({"data": []}, [], True),
    (None, [], True),
    ({"data": [{"code": "mismatched_model", "param": "body.model", "message": "other", "line": 8}]}, [8], True),
    ({"data": [{"code": "model_not_found", "param": "body.model", "message": "none", "line": 1}]}, [1], False),
    ({"data": [{"code": "invalid_request", "param": "file_id", "message": "no file"}]}, [], False),
    ({"data": [{"code": "billing_hard_limit_reached", "message": "limit"}]}, [], False),
    ({"data": [{"code": "invalid_request", "message": "Insufficient Balance"}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "Your account balance is negative."}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "Insufficient funds, please top up."}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "A payment is required to go on."}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "Add a payment method first."}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "This account is suspended: invoices are past due."}]}, [], False),
    ({"data": [{"code": "invalid_request", "message": "Invalid schema for function 'check_balance'"}]}, [], True),
    ({"data": [{"code": "invalid_request", "message": "Unbalanced braces"}]}, [], True),
    ({"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}, [], False),
    ({"data": [{"code": "internal_error", "message": "An internal error occurred."}]}, [], False),
    ({"data": [{"code": "batch_failed", "message": "Your organization must be verified"}]}, [], False),
]


@pytest.mark.parametrize(("errors", "records", "divisible"), JOBS)
def test_a_failed_job_names_its_lines(errors: Any, records: list[int], divisible: bool) -> None:
    found = openai.of_job(ORIGIN, {"errors": errors}, first_line=1, one_model=True)
    assert named(found) == (records, divisible)


def test_numbers_are_counted_as_the_service_counts() -> None:
    job = {"errors": {"data": [{**BAD, "line": 0}, {**BAD, "line": 4}]}}
    assert named(openai.of_job(ORIGIN, job, first_line=0, one_model=True)) == ([1, 5], True)
    assert named(openai.of_job(ORIGIN, job, first_line=None, one_model=True)) == ([], True)


def test_where_lines_may_have_several_models_an_unknown_one_is_the_lines_own() -> None:
    job = {"errors": {"data": [{"code": "model_not_found", "param": "body.model", "message": "none", "line": 6}]}}
    assert named(openai.of_job(ORIGIN, job, first_line=1, one_model=False)) == ([6], True)


def test_each_line_keeps_its_own_words() -> None:
    job = {"errors": {"data": [{**BAD, "line": 2, "message": "b"}, {"code": "c", "message": "a", "line": 1}]}}
    found = openai.of_job(ORIGIN, job, first_line=1, one_model=True)
    assert [(line.message, line.code, line.param) for line in found.lines] == [
        ("a", "c", None),
        ("b", "invalid_request", "body.messages"),
    ]
    assert (found.message, found.code) == ("b", "invalid_request")


UPLOADS: list[tuple[int, str, str, list[int], bool]] = [
    (422, "http_422", "Invalid file format.", [], True),
    (400, "invalid_request_error", "Line 3: messages is missing", [3], True),
    (413, "http_413", "too large", [], True),
    (401, "invalid_api_key", "line 3 of your key", [], False),
    (400, "insufficient_quota", "You exceeded your quota", [], False),
    (404, "http_404", "no such path", [], False),
    (403, "forbidden", "line 3", [], False),
]


@pytest.mark.parametrize(("status", "code", "message", "records", "divisible"), UPLOADS)
def test_an_upload_that_is_checked_at_once(
    status: int, code: str, message: str, records: list[int], divisible: bool
) -> None:
    refused = Refused(message, code=code, status=status)
    assert named(openai.of_upload(refused, first_line=1)) == (records, divisible)
    by_create = openai.of_create(refused, first_line=1)
    assert named(by_create) == (records, divisible and bool(records))


CREATES: list[tuple[int, str, list[int], bool]] = [
    (400, "requests.0.custom_id: Field required", [1], True),
    (400, "requests.41.params.max_tokens: Input should be greater than 0", [42], True),
    (400, "requests.3.params.stream: Extra inputs; requests.9.params.stream: Extra inputs", [4, 10], True),
    (400, "requests[7].params: Input should be an object", [8], True),
    (400, "body.requests.2.params.speed: Extra inputs are not permitted", [3], True),
    (400, "requests.5: Input should be an object", [6], True),
    (422, "requests.1.params: Field required", [2], True),
    (400, "requests.6.params.metadata: no such organization", [7], True),
    (400, "requests: List should have at most 100000 items after validation", [], True),
    (400, "The request body is not valid JSON: no low surrogate in string: line 1 column 158 (char 157)", [], True),
    (413, "Request exceeds the maximum size", [], True),
    (400, "Your credit balance is too low to access the API. Please go to Plans & Billing.", [], False),
    (400, "This organization has been disabled.", [], False),
    (400, "You have reached your specified API usage limits.", [], False),
    (400, 'anthropic-version: "2020" is not a valid version', [], False),
    (401, "requests.1.params: invalid x-api-key", [], False),
    (400, "invalid_request_error", [], False),
    (403, "requests.1.params: forbidden", [], False),
    (404, "model: no-such-model", [], False),
]


@pytest.mark.parametrize(("status", "message", "records", "divisible"), CREATES)
def test_a_create_that_carries_its_lines(status: int, message: str, records: list[int], divisible: bool) -> None:
    refused = Refused(message, code="invalid_request_error", status=status)
    found = anthropic.of_create(refused)
    assert named(found) == (records, divisible)
    assert (found.message, found.code, found.status) == (message, "invalid_request_error", status)
