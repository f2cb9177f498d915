"""The facts in which services differ: what each changes of a call, and what is read in more than one shape."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    PartFile,
    Sighting,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import aliases, canonical, load
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.openai import jobs
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible
from proxy_plugin.providers.lanes.openai.loose import tightened
from proxy_plugin.providers.lanes.openai.rows import without
from proxy_plugin.providers.lanes.openai.service import WORDS
from proxy_plugin.providers.listing import moment
from proxy_plugin.providers.sandbox.stand_ins import copies

KEY = "sk-services-0123456789abcdef"
MARK = make_mark("part")
PROJECT = {"watsonx_project_id": "p1"}


class Server:
    """A loopback service that answers as little as may be, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Mapping[str, str], Mapping[str, str], Any]]] = []
        self.listed: list[dict[str, Any]] = []
        self.file: dict[str, Any] = {"id": "f1"}
        self.location = ""
        self.bare = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = request.content_type == "multipart/form-data"
        body = dict(await request.post()) if form else await request.json() if request.can_read_body else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((f"{request.method} {request.path}", (headers, request.query, body)))
        if request.path.endswith("/content") and self.location:
            return web.Response(status=302, headers={"Location": self.location})
        if request.path.endswith(("/content", "/signed")):
            return web.Response(text="{}\n")
        if request.path in {"/v1/batches", "/v1/files"} and request.method == "GET":
            return web.json_response(self.listed if self.bare else {"data": self.listed, "has_more": False})
        return web.json_response({"data": {"id": "j1"}} if "batches" in request.path else self.file)

    def last(self, what: str) -> tuple[Mapping[str, str], Mapping[str, str], Any]:
        headers, query, body = next(said for asked, said in reversed(self.asked) if asked == what)
        return headers, query, body


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, str]]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield http
    await http.close()


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    path = tmp_path / "part.native"
    path.write_bytes(b"{}\n")
    return PartFile(MARK, path, 3, 1, "0" * 64, "/v1/chat/completions", "m")


def lane_of(name: str) -> OpenAICompatible:
    lane = load(name)
    assert isinstance(lane, OpenAICompatible)
    return lane


def account_of(lane: OpenAICompatible, http: Http, url: str, **fields: Any) -> Account:
    more = PROJECT if lane.capabilities.provider == "watsonx" and not fields else {}
    given = {"api_key": KEY, "custom_host": url, **more, **fields}
    return Account("prod", lane.credentials.model_validate(given), http)


CREATE = {"input_file_id": "f1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
LABEL = {"metadata": {"proxy_plugin": MARK}}
ORDERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # service, further credentials, what a create says
    ("openai", {}, CREATE | LABEL),
    ("groq", {}, CREATE | LABEL),
    ("groq", {"completion_window": "7d"}, CREATE | LABEL | {"completion_window": "7d"}),
    ("dashscope", {}, CREATE | {"metadata": {"ds_name": MARK}}),
    ("zhipu", {}, CREATE | LABEL | {"endpoint": "/v4/chat/completions", "auto_delete_input_file": False}),
    ("z-ai", {}, CREATE | LABEL | {"endpoint": "/v4/chat/completions", "auto_delete_input_file": False}),
    ("qianfan", {}, CREATE | LABEL | {"endpoint": "/v2/chat/completions"}),
    ("openai-compatible", {"job_metadata": False}, CREATE),
    ("openai-compatible", {"completion_window": "1h"}, CREATE | LABEL | {"completion_window": "1h"}),
]


@pytest.mark.parametrize(("name", "fields", "order"), ORDERS)
async def test_a_create_says_what_the_service_wants(
    http: Http, served: tuple[Server, str], part: PartFile, name: str, fields: dict[str, Any], order: dict[str, Any]
) -> None:
    server, url = served
    lane = lane_of(name)
    account = account_of(lane, http, url, **fields)
    assert await lane.create(account, Submission(part, {"file": "f1"})) == "j1", "also where it is wrapped"
    assert server.last("POST /v1/batches")[2] == order


@pytest.mark.parametrize(("fields", "purpose"), [({}, "batch"), ({"file_purpose": "batch-api"}, "batch-api")])
async def test_an_upload_has_the_purpose_of_the_account(
    http: Http, served: tuple[Server, str], part: PartFile, fields: dict[str, str], purpose: str
) -> None:
    server, url = served
    lane = lane_of("openai-compatible")
    server.file = {"code": 20000, "data": {"id": "f7", "bytes": part.bytes}}
    assert await lane.stage(account_of(lane, http, url, **fields), part, again=False) == {"file": "f7"}
    assert server.last("POST /v1/files")[2]["purpose"] == purpose


async def test_a_key_goes_where_the_account_says(http: Http, served: tuple[Server, str]) -> None:
    server, url = served
    lane = lane_of("openai-compatible")
    for name in ("api-key", "X-Acme-Key", "authorization"):
        await lane.fence(account_of(lane, http, url, key_header=name))
        headers, _, _ = server.last("GET /v1/batches")
        sent = {each: value for each, value in headers.items() if KEY in value}
        assert sent == {name.lower(): f"Bearer {KEY}" if name == "authorization" else KEY}


async def test_a_list_may_be_bare(http: Http, served: tuple[Server, str], part: PartFile) -> None:
    server, url = served
    server.bare, server.listed = True, [{"id": "j2", "input_file_id": "f1"}]
    lane = lane_of("openai-compatible")
    found = await lane.find(account_of(lane, http, url), Submission(part, {"file": "f1"}))
    assert found == Sighting(("j2",), control=True)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"watsonx_project_id": "p1"}, {"x-ibm-project-id": "p1"}),
        ({"watsonx_space_id": "s1", "watsonx_version": "2026-10-01"}, {"x-ibm-space-id": "s1"}),
    ],
)
async def test_every_call_to_watsonx_names_its_place_and_version(
    http: Http, served: tuple[Server, str], part: PartFile, given: dict[str, str], sent: dict[str, str]
) -> None:
    server, url = served
    lane = lane_of("watsonx")
    account = account_of(lane, http, url, **given)
    submission = Submission(part, await lane.stage(account, part, again=True))
    await lane.create(account, submission)
    await lane.find(account, submission)
    await lane.fetch(account, "j1", JobStatus(JobState.ENDED, results={"output": "f1"}), part.path.parent)
    assert len(server.asked) >= 6
    for what, (headers, query, _) in server.asked:
        assert {name: value for name, value in headers.items() if name.startswith("x-ibm")} == sent, what
        assert query["version"] == given.get("watsonx_version", "2026-03-01"), what
        assert headers["authorization"] == f"Bearer {KEY}", "the key itself, no token made of it"


async def test_an_idempotency_key_is_that_of_one_create(http: Http, served: tuple[Server, str], part: PartFile) -> None:
    server, url = served
    lane, keys = lane_of("perplexity-ai"), []
    for file, fence in (("f1", "j0"), ("f1", "j0"), ("f2", "j0"), ("f1", "j1"), ("f1", None)):
        await lane.create(account_of(lane, http, url), Submission(part, {"file": file}, fence))
        keys.append(server.last("POST /v1/batches")[0]["idempotency-key"])
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4, "a part that is created again is another create"
    assert all(key.startswith(f"{MARK}-") for key in keys)
    await lane_of("openai").create(account_of(lane_of("openai"), http, url), Submission(part, {"file": "f1"}))
    assert "idempotency-key" not in server.last("POST /v1/batches")[0]


# A job is known by its mark, or by its input file


LISTED: list[tuple[str, list[dict[str, Any]], tuple[str, ...], bool]] = [
    ("nebius", [{"id": "j2", "input_file_id": "f1"}], ("j2",), True),
    ("nebius", [{"id": "j2", "input_file_id": "f1", "metadata": None}], ("j2",), True),
    ("nebius", [{"id": "j2", "input_file_id": "f1", "metadata": {"proxy_plugin": MARK}}], ("j2",), True),
    ("nebius", [{"id": "j2", "input_file_id": "f1", "metadata": {"proxy_plugin": "another"}}], (), True),
    ("nebius", [{"id": "j2", "input_file_id": "f0"}], (), True),
    ("nebius", [{"id": "j2"}], (), False),
    ("nebius", [{"id": "j3", "input_file_id": "f1"}, {"id": "j2"}], ("j3",), False),
    ("groq", [{"id": "j2", "input_file_id": "f1"}], ("j2",), True),
    ("groq", [{"id": "j2", "input_file_id": "f0", "metadata": {"proxy_plugin": MARK}}], (), True),
    ("groq", [{"id": "j2", "input_file_id": "f1", "metadata": {"proxy_plugin": "another"}}], (), True),
    ("groq", [{"id": "j2"}], (), True),
    ("groq", [{"id": "j2", "input_file_id": "f1", "metadata": {"proxy_plugin": MARK}}], ("j2",), True),
    ("dashscope", [{"id": "j2", "input_file_id": "f1", "metadata": {"ds_name": "another"}}], (), True),
    ("dashscope", [{"id": "j2", "input_file_id": "f1", "metadata": {"ds_name": MARK}}], ("j2",), True),
]


@pytest.mark.parametrize(("name", "listed", "found", "control"), LISTED)
async def test_a_lost_create_is_known_by_what_the_service_shows(
    http: Http,
    served: tuple[Server, str],
    part: PartFile,
    name: str,
    listed: list[dict[str, Any]],
    found: tuple[str, ...],
    control: bool,
) -> None:
    server, url = served
    server.listed = listed
    lane = lane_of(name)
    sighting = await lane.find(account_of(lane, http, url), Submission(part, {"file": "f1"}))
    assert sighting == Sighting(found, control=control)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
async def test_a_list_of_unknown_order_is_read_in_any(
    http: Http, served: tuple[Server, str], part: PartFile, timed: bool, backwards: bool
) -> None:
    """A fence is what the list showed first: of one that begins with the oldest job it is the oldest."""
    server, url = served
    lane = lane_of("nebius")
    account = account_of(lane, http, url)
    made: list[dict[str, Any]] = [{"id": f"j{n}", "input_file_id": f"f{n - 1}"} for n in range(3)]
    made = [{**each, "created_at": 1000 + 500 * n} if timed else each for n, each in enumerate(made)]
    server.listed = made[:2][::-1] if backwards else made[:2]
    fence = await lane.fence(account)
    server.listed = made[::-1] if backwards else made
    assert await lane.find(account, Submission(part, {"file": "f1"}, fence)) == Sighting(("j2",), control=True)


@pytest.mark.parametrize("file", [{"id": "f2"}, {}, {"id": "f1", "filename": "another.jsonl"}])
async def test_a_file_that_is_not_shown_as_ours_proves_nothing(
    http: Http, served: tuple[Server, str], part: PartFile, file: dict[str, str]
) -> None:
    server, url = served
    server.file = file
    lane = lane_of("nebius")
    assert not (await lane.find(account_of(lane, http, url), Submission(part, {"file": "f1"}))).control


# Content at a signed address


async def test_content_behind_a_signed_url_is_read_without_the_key(
    http: Http, served: tuple[Server, str], tmp_path: Path
) -> None:
    server, url = served
    server.location = "/signed?sig=a%2Fb"
    lane = lane_of("parasail")
    status = JobStatus(JobState.ENDED, results={"output": "f1"})
    names = await lane.fetch(account_of(lane, http, url), "j1", status, tmp_path)
    assert (names, (tmp_path / names[0]).read_bytes()) == (("output.jsonl",), b"{}\n")
    assert "authorization" in server.last("GET /v1/files/f1/content")[0]
    headers, query, _ = server.last("GET /signed")
    assert ("authorization" in headers, dict(query)) == (False, {"sig": "a/b"})


@pytest.mark.parametrize(
    "location",
    [
        *("http://store.example/x", "https://10.0.0.1/x", "https://169.254.169.254/latest", "https://[::1]/x"),
        *("https://user:word@store.example/x", "ftp://store.example/x", "https://localhost/x", "https://[bad/x"),
        *("https:///x", "http://127.0.0.1:1/x"),
    ],
)
async def test_a_link_to_somewhere_private_or_without_tls_is_not_followed(
    http: Http, served: tuple[Server, str], tmp_path: Path, location: str
) -> None:
    server, url = served
    server.location = location
    lane = lane_of("parasail")
    with pytest.raises(TryLater):
        await lane.fetch(
            account_of(lane, http, url), "j1", JobStatus(JobState.ENDED, results={"output": "f1"}), tmp_path
        )
    assert list(tmp_path.glob("*.jsonl")) == []


async def test_a_result_may_be_named_by_its_url(http: Http, served: tuple[Server, str], tmp_path: Path) -> None:
    server, url = served
    lane = lane_of("siliconflow")
    named = url.removesuffix("/v1") + "/signed"
    status = JobStatus(JobState.ENDED, results={"output": named})
    assert await lane.fetch(account_of(lane, http, url), "j1", status, tmp_path) == ("output.jsonl",)
    assert [(what, "authorization" in headers) for what, (headers, *_) in server.asked] == [("GET /signed", False)]


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("file-1", "file-1"),
        ("https://store.example/a/b.jsonl?sig=1", "https://store.example/a/b.jsonl?sig=1"),
        *((odd, None) for odd in ("", None, "a/b", "ftp://store.example/a", 7, "https://h.example/" + "x" * 5000)),
    ],
)
def test_a_result_is_named_by_an_id_or_a_url(told: object, read: str | None) -> None:
    assert jobs.result({"output_file_id": told}, "output_file_id") == read


@pytest.mark.parametrize("name", ["zhipu", "siliconflow"])
async def test_a_file_is_looked_for_in_the_list_where_it_has_no_address(
    http: Http, served: tuple[Server, str], part: PartFile, name: str
) -> None:
    server, url = served
    lane = lane_of(name)
    account = account_of(lane, http, url)
    server.listed = [{"id": "f0", "input_file_id": "x"}, {"id": "f1", "filename": f"pp-{MARK}.jsonl"}]
    found = await lane.find(account, Submission(part, {"file": "f1"}))
    assert found.control is False, "a job that shows no input"
    server.listed = [{"id": "f1", "input_file_id": "x", "filename": f"pp-{MARK}.jsonl"}]
    assert await lane.find(account, Submission(part, {"file": "f1"})) == Sighting((), control=True)
    assert not (await lane.find(account, Submission(part, {"file": "f2"}))).control
    with pytest.raises(TryLater, match="still there"):
        await lane.revoke(account, Submission(part, {"file": "f1"}))
    await lane.revoke(account, Submission(part, {"file": "f2"}))
    assert not any(what == "GET /v1/files/f1" for what, _ in server.asked)


async def test_other_services_follow_nothing(http: Http, served: tuple[Server, str], tmp_path: Path) -> None:
    server, url = served
    server.location = "/signed"
    lane = lane_of("nebius")
    with pytest.raises(Exception, match="unexpected_redirect"):
        await lane.fetch(
            account_of(lane, http, url), "j1", JobStatus(JobState.ENDED, results={"output": "f1"}), tmp_path
        )
    assert not any(what == "GET /signed" for what, *_ in server.asked)


async def test_an_empty_error_file_is_no_result(http: Http, served: tuple[Server, str], tmp_path: Path) -> None:
    server, url = served
    server.file = {"id": "f1", "bytes": 0}
    lane = lane_of("deepinfra")
    status = JobStatus(JobState.ENDED, results={"error": "f1"})
    assert await lane.fetch(account_of(lane, http, url), "j1", status, tmp_path) == ()


# Lines


def translated(name: str, body: Mapping[str, Any], endpoint: str = "/v1/chat/completions") -> tuple[Any, Any]:
    line = LineIn(native_id(MARK, 0), endpoint, json.dumps(body).encode(), "m")
    native = load(name).translate(line, Target())
    return json.loads(native.data), native.dropped


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("openai", "/v1/chat/completions"),
        ("zhipu", "/v4/chat/completions"),
        ("qianfan", "/v2/chat/completions"),
        ("novita-ai", None),
    ],
)
def test_a_line_names_the_services_own_path(name: str, url: str | None) -> None:
    line, dropped = translated(name, {"model": "m", "stream": False})
    envelope = {} if url is None else {"method": "POST", "url": url}
    assert line == {"custom_id": native_id(MARK, 0), **envelope, "body": {"model": "m", "stream": False}}
    assert dropped == ()


def test_what_a_service_stumbles_over_stays_behind_and_is_recorded() -> None:
    body = {"model": "m", "stream": False, "messages": [{"stream": 1}], "stream_options": {"include_usage": True}}
    line, dropped = translated("deepinfra", body)
    assert line["body"] == {"model": "m", "messages": [{"stream": 1}]}
    assert dropped == ("stream", "stream_options")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["stream", "a", "\u00e9"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["stream", "stream_options", "a", "b", 'q"', "\u00e9"]), JSON), st.booleans())
def test_only_the_named_members_go(body: dict[str, Any], ascii_only: bool) -> None:
    names = frozenset({"stream", "stream_options"})
    left, gone = without(json.dumps(body, ensure_ascii=ascii_only).encode(), names)
    assert json.loads(left) == {key: value for key, value in body.items() if key not in names}
    assert set(gone) == names & body.keys()


def test_what_is_kept_is_kept_to_the_byte() -> None:
    body = b'{ "n": 123456789012345678901234567890, "stream":true, "f": 1.10, "x": "\\ud83d" }'
    left, _ = without(body, frozenset({"stream"}))
    assert left == b'{"n":123456789012345678901234567890,"f":1.10,"x":"\\ud83d"}'
    assert without(b'{"\\u0073tream": true}', frozenset({"stream"})) == (b"{}", ("stream",))


# Rows


BODY = b'{"id":"c1","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4},"n":1.10}'
TIGHT = b'{"status_code":200,"request_id":"","body":%s}' % BODY
SHAPES = [
    b'{"custom_id":"%s","response":%s}' % (native_id(MARK, 0).encode(), response)
    for response in (
        BODY,
        json.dumps(BODY.decode()).encode(),
        b'{"body":%s}' % BODY,
        b'{"status_code":200,"body":%s}' % json.dumps(BODY.decode()).encode(),
    )
]


@pytest.mark.parametrize("line", SHAPES)
@pytest.mark.parametrize("name", ["watsonx", "qianfan", "doubleword", "openai-compatible"])
def test_answers_of_unknown_shape_are_read(name: str, line: bytes) -> None:
    row = load(name).row(line, "output.jsonl", "/v1/chat/completions")
    assert row is not None
    assert (row.ok, row.response, row.model) == (True, TIGHT, "m")
    assert row.usage is not None
    assert (row.usage.input_tokens, row.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"a","response":null,"error":{"code":"x","message":"m"}}',
        b'{"custom_id":"a","response":{"status_code":500},"error":null}',
        b'{"custom_id":"a","response":"no JSON","error":null}',
        b'{"custom_id":"a"}',
        b'{"response":{}}',
        b"not a row",
    ],
)
def test_what_is_no_answer_stays_none(line: bytes) -> None:
    assert tightened(line) == line


@given(st.dictionaries(st.text(max_size=5), JSON), st.integers(200, 599))
def test_a_row_of_openais_shape_says_the_same_as_before(body: dict[str, Any], status: int) -> None:
    given = {"custom_id": "a", "response": {"status_code": status, "request_id": "r", "body": body}, "error": None}
    made = json.loads(tightened(json.dumps(given).encode()))
    assert (made["custom_id"], made["error"]) == ("a", None)
    assert (made["response"]["status_code"], made["response"]["body"]) == (status, body)


# What a batch object says


NO_TIMES: tuple[object, ...] = (None, True, "yesterday", {"seconds": 1}, [], "")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (1_772_228_448, 1_772_228_448.0),
        (1_772_228_448_309, 1_772_228_448.309),
        ("1772228448309", 1_772_228_448.309),
        ("1772228448", 1_772_228_448.0),
        ("2026-02-27T21:40:48Z", 1_772_228_448.0),
        ("2026-02-27T21:40:48", 1_772_228_448.0),
        *((odd, 0.0) for odd in NO_TIMES),
    ],
)
def test_a_time_is_read_in_any_form(told: object, seconds: float) -> None:
    assert moment(told) == seconds


@pytest.mark.parametrize(
    ("job", "counts"),
    [
        ({"request_counts": {"total": 3, "completed": 2, "failed": 1}}, (2, 1)),
        ({"request_counts": None, "total": 3, "completed": 2, "failed": 1}, (2, 1)),
        ({"total": 3, "completed": 3, "failed": 0}, (3, 0)),
        ({"request_counts": None}, (None, None)),
        ({"request_counts": {"completed": 4, "failed": -1}}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_counts_stand_in_an_object_or_beside_it(tmp_path: Path, job: dict[str, Any], counts: tuple[Any, Any]) -> None:
    part = PartFile(MARK, tmp_path, 3, 3, "", "/v1/chat/completions", "m")
    assert jobs.counts(job, part) == counts


@pytest.mark.parametrize("name", [*copies(), "openai"])
def test_every_word_of_openais_is_known_in_every_case(name: str) -> None:
    words = lane_of(name).service.words
    for word, meant in jobs.STATES.items():
        assert jobs.state({"status": word.upper()}, words) == meant
    with pytest.raises(TryLater, match="unknown batch status"):
        jobs.state({"status": "perhaps"}, words)


def test_words_of_others_mean_openais() -> None:
    assert set(WORDS.values()) == set(jobs.STATES)
    assert jobs.state({"status": "SUCCESS"}, WORDS) == (JobState.ENDED, JobEnd.COMPLETED)
    assert jobs.state({"status": "CANCELING"}, WORDS) == (JobState.CANCELLING, None)
    assert jobs.state({"status": "PROGRESS"}, lane_of("novita-ai").service.words) == (JobState.RUNNING, None)
    assert jobs.state({"status": "in_queue"}, lane_of("siliconflow").service.words) == (JobState.VALIDATING, None)


def test_polls_are_as_patient_as_a_service_asks_where_it_is_the_service() -> None:
    service = lane_of("dashscope").service
    assert service.pause(service.default_host) == 60.0
    assert service.pause("https://dashscope-intl.aliyuncs.com/compatible-mode/v1") == 60.0
    assert service.pause("http://127.0.0.1:8000/v1") is None
    assert lane_of("groq").service.pause("https://api.groq.com/openai/v1") is None


# Accounts and names


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("watsonx", {}),
        ("watsonx", {"watsonx_project_id": "p", "watsonx_space_id": "s"}),
        ("watsonx", {"watsonx_project_id": "p", "watsonx_version": "yesterday"}),
        ("openai-compatible", {}),
        ("openai-compatible", {"custom_host": "api.example.com/v1"}),
        ("openai-compatible", {"custom_host": "https://h.example/v1", "key_header": "Content-Length"}),
        ("groq", {"completion_window": "a week"}),
        ("groq", {"completion_window": "0h"}),
        ("groq", {"file_purpose": "of batches"}),
        ("openai", {"completion_window": "48h"}),
    ],
)
def test_credentials_that_cannot_be_are_refused(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        lane_of(name).credentials.model_validate({"api_key": KEY, **fields})
    assert KEY not in str(caught.value)


def test_accounts_of_one_key_in_two_projects_are_two() -> None:
    lane = lane_of("watsonx")
    keys = [
        lane.account_key(lane.credentials.model_validate({"api_key": KEY, **place}))
        for place in ({"watsonx_project_id": "a"}, {"watsonx_project_id": "b"}, {"watsonx_space_id": "a"})
    ]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("novita", "novita-ai"),
        ("perplexity", "perplexity-ai"),
        ("zai", "z-ai"),
        ("openai_like", "openai-compatible"),
        *((name, name) for name in ("groq", "dashscope", "moonshot", "nebius", "deepinfra", "watsonx")),
    ],
)
def test_litellms_names_lead_to_the_lane(alias: str, name: str) -> None:
    assert canonical(alias) == name
    assert load(alias).capabilities.provider == name
    assert (alias in aliases(name)) == (alias != name)
