"""The real gateway with the sandbox behind it, and for every client a workspace with something in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.clients.scene import ENDS, PATIENCE
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until

FAILS = 5  # the number of the line that the model refuses
LINES = chat_lines(12, marker={FAILS: "[[sandbox:error=429]]"})
BROKEN = [LINES[0], LINES[1], LINES[0]]  # the third line repeats the id of the first
FOREVER = {"openai": {"run_seconds": 86_000.0}}
STRANGER = "a-stranger"


def key_of(client: str) -> str:
    """Return the gateway key of a client."""
    return f"gateway-key-of-{client}"


@contextmanager
def stage(home: Path, clients: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Serve; yield the scene file of every client. Everything ends with the context."""
    home.mkdir(parents=True, exist_ok=True)
    with Sandbox(providers=["openai"]) as quick, Sandbox(providers=["openai"], options=FOREVER) as slow:
        keys = {"lane": lane(quick, models=[LINES[0]["body"]["model"]]), "slow": lane(slow)}
        workspaces = [
            {"name": name, "key": key_of(name), "workspace": name, "virtual_keys": ["lane", "slow"]}
            for name in (*clients, STRANGER)
        ]
        gateway = Gateway(home, keys, sections={"api_keys": workspaces})
        gateway.start()
        try:
            yield _scenes(home, gateway.url, clients)
        finally:
            gateway.close()


def _scenes(home: Path, url: str, clients: Sequence[str]) -> dict[str, Path]:
    files = {"input": home / "input.jsonl", "broken": home / "broken.jsonl"}
    files["input"].write_bytes(jsonl(LINES))
    files["broken"].write_bytes(jsonl(BROKEN))
    started = {name: _started(url, name, files["input"]) for name in (*clients, STRANGER)}
    done = {name: _ended(url, name, batch) for name, batch in started.items()}
    shared = {"url": url, "lane": "lane", "slow": "slow", "model": LINES[0]["body"]["model"], **_expected()}
    places = {}
    for name in clients:
        places[name] = home / f"scene-{name}.json"
        own = {"client": name, "key": key_of(name), "done": done[name], "stranger": done[STRANGER]}
        facts = shared | own | {kind: str(path) for kind, path in files.items()}
        places[name].write_text(json.dumps(facts))
    return places


def _expected() -> Mapping[str, Any]:
    good = [line for n, line in enumerate(LINES) if n != FAILS]
    answers = {line["custom_id"]: expected_text(line["url"], line["body"]) for line in good}
    return {"answers": answers, "failing": {LINES[FAILS]["custom_id"]: 429}}


def _client(url: str, name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key_of(name), default_headers={"x-portkey-virtual-key": "lane"})


def _started(url: str, name: str, path: Path) -> str:
    with _client(url, name) as client:
        file = client.files.create(file=path, purpose="batch")
        return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id


def _ended(url: str, name: str, batch_id: str) -> dict[str, str]:
    with _client(url, name) as client:
        until(lambda: client.batches.retrieve(batch_id).status in ENDS, f"the end of {batch_id}", PATIENCE)
        batch = client.batches.retrieve(batch_id)
    assert batch.status == "completed", batch
    assert batch.output_file_id, batch
    assert batch.error_file_id, batch
    return {
        "batch": batch.id,
        "input": batch.input_file_id,
        "output": batch.output_file_id,
        "error": batch.error_file_id,
    }
