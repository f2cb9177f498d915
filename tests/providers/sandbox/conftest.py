"""One sandbox process for all its tests; each test starts from an empty one and talks to it with the official SDKs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.messages import MessageBatch
from openai import AsyncOpenAI, OpenAI
from openai.types import Batch

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import every
from tests.support import waiting

ENDS = {"completed", "failed", "expired", "cancelled"}

Row = dict[str, Any]


@pytest.fixture(scope="session")
def process() -> Iterator[Sandbox]:
    options = {each.provider: each.quick for each in every()}
    with Sandbox(keys=[DEFAULT_KEY, "sk-other"], options=options) as running:
        yield running


@pytest.fixture
def sandbox(process: Sandbox) -> Sandbox:
    process.control.reset()
    return process


@pytest.fixture(scope="session")
def connected(process: Sandbox) -> Iterator[OpenAI]:
    """The official client without retries, so that every test sees the first answer. Costs 40 ms to build."""
    with OpenAI(base_url=process.url(), api_key=DEFAULT_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def client(connected: OpenAI, sandbox: Sandbox) -> OpenAI:
    """`connected`, and an empty sandbox."""
    return connected


@pytest.fixture
async def async_client(sandbox: Sandbox) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sandbox.url(), api_key=DEFAULT_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def chat() -> Callable[..., Row]:
    """Builds one chat line: `chat("id", "text", model=..., **more of the body)`."""

    def line(custom_id: str, text: str = "hello", **body: Any) -> Row:
        whole = {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": text}], **body}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": whole}

    return line


@pytest.fixture
def upload(client: OpenAI) -> Callable[..., str]:
    """Uploads lines (objects or ready bytes) for a batch; gives the file id."""

    def send(lines: Sequence[Row] | bytes, name: str = "input.jsonl") -> str:
        data = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return client.files.create(file=(name, data), purpose="batch").id

    return send


@pytest.fixture
def create(client: OpenAI, upload: Callable[..., str]) -> Callable[..., Batch]:
    """Uploads lines and creates their batch."""

    def make(lines: Sequence[Row] | bytes, endpoint: Any = "/v1/chat/completions", **more: Any) -> Batch:
        return client.batches.create(input_file_id=upload(lines), endpoint=endpoint, completion_window="24h", **more)

    return make


@pytest.fixture
def until(client: OpenAI) -> Callable[..., Batch]:
    """Polls a batch until its status is one of those named (by default: terminal)."""

    def poll(batch: Batch, *statuses: str) -> Batch:
        wanted = set(statuses) or ENDS

        def seen() -> list[Batch]:
            found = client.batches.retrieve(batch.id)
            return [found] if found.status in wanted else []

        return batch if batch.status in wanted else waiting.until(seen, f"{batch.id} is {wanted}")[0]

    return poll


@pytest.fixture
def run(create: Callable[..., Batch], until: Callable[..., Batch]) -> Callable[..., Batch]:
    """Uploads, creates and waits for the end."""
    return lambda lines, *endpoint, **more: until(create(lines, *endpoint, **more))


@pytest.fixture
def rows(client: OpenAI) -> Callable[[str | None], list[Row]]:
    """The rows of a result file; none where there is no file."""

    def read(file_id: str | None) -> list[Row]:
        data = client.files.content(file_id).content if file_id else b""
        return [json.loads(line) for line in data.split(b"\n") if line]  # not splitlines: rows may hold U+2028

    return read


@pytest.fixture
def by_id(rows: Callable[[str | None], list[Row]]) -> Callable[[Batch], tuple[Mapping[str, Row], Mapping[str, Row]]]:
    """Output and error rows of a batch, by custom_id; every id at most once."""

    def read(batch: Batch) -> tuple[Mapping[str, Row], Mapping[str, Row]]:
        files = [rows(batch.output_file_id), rows(batch.error_file_id)]
        found = [{row["custom_id"]: row for row in file} for file in files]
        assert [len(file) for file in files] == [len(each) for each in found]
        return found[0], found[1]

    return read


# Anthropic.


def without_version(url: str) -> str:
    """The base URL for Anthropic's SDK, which adds the version path by itself."""
    return url.removesuffix("/v1")


@pytest.fixture(scope="session")
def claude_connected(process: Sandbox) -> Iterator[Anthropic]:
    """The official client without retries, so that every test sees the first answer."""
    with Anthropic(base_url=without_version(process.url("anthropic")), api_key=DEFAULT_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def claude(claude_connected: Anthropic, sandbox: Sandbox) -> Anthropic:
    """`claude_connected`, and an empty sandbox."""
    return claude_connected


@pytest.fixture
async def async_claude(sandbox: Sandbox) -> AsyncIterator[AsyncAnthropic]:
    url = without_version(sandbox.url("anthropic"))
    async with AsyncAnthropic(base_url=url, api_key=DEFAULT_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def ask() -> Callable[..., Row]:
    """Builds one request of a message batch: `ask("id", "text", max_tokens=..., **more params)`."""

    def request(custom_id: str, text: str = "hello", **params: Any) -> Row:
        turn = {"role": "user", "content": text}
        return {
            "custom_id": custom_id,
            "params": {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": [turn], **params},
        }

    return request


@pytest.fixture
def ended(claude: Anthropic) -> Callable[..., MessageBatch]:
    """Polls a message batch until it has ended."""

    def poll(batch: MessageBatch) -> MessageBatch:
        def seen() -> list[MessageBatch]:
            found = claude.messages.batches.retrieve(batch.id)
            return [found] if found.processing_status == "ended" else []

        return batch if batch.processing_status == "ended" else waiting.until(seen, f"the end of {batch.id}")[0]

    return poll


@pytest.fixture
def answered(claude: Anthropic, ended: Callable[..., MessageBatch]) -> Callable[..., dict[str, Row]]:
    """Creates a message batch, waits for its end and gives the results by custom_id; every id once."""

    def run(requests: Sequence[Row], **more: Any) -> dict[str, Row]:
        batch = ended(claude.messages.batches.create(requests=requests, **more))  # type: ignore[arg-type]
        rows = [json.loads(row.to_json()) for row in claude.messages.batches.results(batch.id)]
        found = {row["custom_id"]: row["result"] for row in rows}
        assert len(found) == len(rows)
        return found

    return run
