"""One key serves chat and batches, in each form, through the clients that people have."""

from __future__ import annotations

import io
import json
from typing import Any

import litellm
from openai import OpenAI
from portkey_ai import Portkey
from websockets.sync.client import connect

from tests.litellm import rig
from tests.litellm.conftest import Form
from tests.litellm.rig import KEY, SLUG
from tests.support.waiting import until

ENDS = {"completed", "failed", "expired", "cancelled"}
ASKED: list[Any] = [{"role": "user", "content": "hello"}]


def openai(form: Form, **headers: str) -> OpenAI:
    return OpenAI(base_url=f"{form.url}/v1", api_key=KEY, default_headers=headers, max_retries=0)


def portkey(form: Form, virtual_key: str = SLUG) -> Portkey:
    """Chat in LiteLLM reads the key from `Authorization` alone, so that the form inside needs it there, too."""
    return Portkey(base_url=f"{form.url}/v1", api_key=KEY, virtual_key=virtual_key, Authorization=f"Bearer {KEY}")


def test_openais_client_chats_streams_embeds_and_asks(form: Form) -> None:
    client = openai(form)
    chat = client.chat.completions.create(model="mock", messages=ASKED)
    assert chat.choices[0].message.content == rig.MOCKS["mock"]
    with client.chat.completions.create(model="mock", messages=ASKED, stream=True) as stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 2
    assert "".join(pieces) == rig.MOCKS["mock"]
    embedded = client.embeddings.create(model="mock-embedding", input="hello", encoding_format="float")
    assert embedded.data[0].embedding == rig.MOCKS["mock-embedding"]
    assert client.responses.create(model="mock", input="hello").output_text == rig.MOCKS["mock"]


def test_every_model_is_listed(form: Form) -> None:
    assert {"gpt-4.1-nano", *rig.MOCKS} <= {each.id for each in openai(form).models.list()}


def test_openais_client_runs_a_batch(form: Form) -> None:
    client = openai(form, **{"x-portkey-virtual-key": SLUG})
    upload = client.files.create(file=("in.jsonl", rig.lines()), purpose="batch")
    batch = client.batches.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
    ended = until(lambda: _ended(client.batches.retrieve(batch.id)), "the end of the batch")
    assert (ended.status, ended.request_counts.completed) == ("completed", 3)
    rows = [json.loads(row) for row in client.files.content(ended.output_file_id).content.splitlines()]
    assert [row["custom_id"] for row in rows] == ["q-0", "q-1", "q-2"]
    assert batch.id in [each.id for each in client.batches.list(limit=20)]
    assert client.files.retrieve(upload.id).status == "processed"
    assert client.files.delete(upload.id).deleted


def test_portkeys_client_chats_streams_embeds_and_asks(form: Form) -> None:
    client = portkey(form, "model-mock")  # of the list; the LiteLLM that we are inside of goes by the model alone
    chat = client.chat.completions.create(model="mock", messages=ASKED)
    assert chat.choices[0].message.content == rig.MOCKS["mock"]
    stream = client.chat.completions.create(model="mock", messages=ASKED, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == rig.MOCKS["mock"]
    assert client.responses.create(model="mock", input="hello").output_text == rig.MOCKS["mock"]
    client = portkey(form, "model-mock-embedding")
    embedded = client.embeddings.create(model="mock-embedding", input="hello", encoding_format="float")
    assert embedded.data[0].embedding == rig.MOCKS["mock-embedding"]
    assert {"gpt-4.1-nano", *rig.MOCKS} <= {each["id"] for each in client.models.list().data}


def test_portkeys_client_runs_a_batch(form: Form) -> None:
    client = portkey(form)
    upload = client.files.create(file=("in.jsonl", io.BytesIO(rig.lines())), purpose="batch")
    batch = client.batches.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
    ended = until(lambda: _ended(client.batches.retrieve(batch.id)), "the end of the batch")
    assert (ended.status, ended.request_counts.completed) == ("completed", 3)
    assert client.files.content(ended.output_file_id).content.count(b"\n") == 3


def test_litellms_client_chats_streams_embeds_and_asks(form: Form) -> None:
    proxy: dict[str, Any] = {"api_base": f"{form.url}/v1", "api_key": KEY}
    chat = litellm.completion(model="litellm_proxy/mock", messages=ASKED, **proxy)
    assert chat.choices[0].message.content == rig.MOCKS["mock"]
    stream = litellm.completion(model="litellm_proxy/mock", messages=ASKED, stream=True, **proxy)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == rig.MOCKS["mock"]
    embedded = litellm.embedding(model="litellm_proxy/mock-embedding", input=["hello"], **proxy)
    assert embedded.data[0]["embedding"] == rig.MOCKS["mock-embedding"]
    answer = litellm.responses(model="litellm_proxy/mock", input="hello", **proxy)
    assert answer.output[0].content[0].text == rig.MOCKS["mock"]


def test_litellms_client_runs_a_batch(form: Form) -> None:
    proxy: dict[str, Any] = {"api_base": f"{form.url}/v1", "api_key": KEY}
    ours: dict[str, Any] = proxy | {"custom_llm_provider": "openai", "extra_headers": {"x-portkey-virtual-key": SLUG}}
    upload = litellm.create_file(file=("in.jsonl", rig.lines()), purpose="batch", **ours)
    batch = litellm.create_batch(
        input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h", **ours
    )
    ended = until(lambda: _ended(litellm.retrieve_batch(batch.id, **ours)), "the end of the batch")
    assert (ended.status, ended.request_counts.completed) == ("completed", 3)
    assert litellm.file_content(ended.output_file_id, **ours).content.count(b"\n") == 3


def test_a_websocket_passes_messages_both_ways(form: Form) -> None:
    url = f"{form.url}/v1/realtime?model=mock-socket".replace("http", "ws", 1)
    sent = json.dumps({"type": "response.create", "event_id": "e1"})
    with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}, proxy=None) as socket:
        socket.send(sent)
        assert json.loads(socket.recv(timeout=30)) == json.loads(sent)


def _ended(batch: Any) -> Any:
    return batch if batch.status in ENDS else None
