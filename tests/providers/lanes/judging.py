"""What the tests of adapters share: JSON values, and the status that an adapter reads from one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import strategies as st

from proxy_plugin.providers.base import Account, BatchProvider, JobStatus, PartFile
from proxy_plugin.providers.http import Http, Reply

KEY = "sk-judged-0123456789abcdef"
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PART = PartFile("0123456789", Path("/nowhere"), 100, 4, "0" * 64, "/v1/chat/completions", "a-model")


class _Answering:
    """An origin whose every safe call has one answer."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def request(self, *_: object, **__: object) -> Reply:
        return Reply(200, {}, json.loads(json.dumps(self._answer)))

    def refusal(self, body: bytes, *, code: str) -> Any:
        return Http().origin("a", "https://judged.example", {}).refusal(body, code=code)


async def status_of(
    lane: BatchProvider, job: Mapping[str, Any], *, custom_host: str | None = "https://own.example", **more: Any
) -> JobStatus:
    """Return what an adapter reads from a job."""
    credentials = lane.credentials.model_validate({"api_key": KEY, "custom_host": custom_host, **more})
    http = SimpleNamespace(origin=lambda *_, **__: _Answering(job))
    return await lane.status(Account("slug", credentials, cast("Http", http)), "job", PART)
