"""A gateway over two providers with small jobs, for plans and for what then happens."""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import every, find
from tests.support.lines import jsonl
from tests.support.stack import Gateway, lane

(MINI, NANO), (HAIKU, SONNET) = find("openai").models, find("anthropic").models
OTHER_KEY = "key-of-another-workspace"
LINES = {"x-portkey-virtual-key": ""}  # the lines name their accounts
CHAT = "/v1/chat/completions"


class Planning(Gateway):
    """A gateway whose plans are asked for with the body of a create."""

    def plan(self, file_id: str, headers: Mapping[str, str] = LINES, **more: Any) -> dict[str, Any]:
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"} | more
        answer = self.call("POST", "/batches/plan", body, headers=headers, timeout=90)
        assert isinstance(answer, dict)
        return answer

    def plan_inline(
        self, lines: Sequence[Mapping[str, Any]], headers: Mapping[str, str] = LINES, **more: Any
    ) -> dict[str, Any]:
        answer = self.call("POST", "/batches/plan", {"requests": lines, "endpoint": CHAT} | more, headers=headers)
        assert isinstance(answer, dict)
        return answer

    def planned(self, lines: Sequence[Mapping[str, Any]], headers: Mapping[str, str] = LINES) -> dict[str, Any]:
        return self.plan(self.upload(jsonl(lines)), headers)

    def run(self, file_id: str, headers: Mapping[str, str]) -> dict[str, Any]:
        body = {"input_file_id": file_id, "endpoint": CHAT, "metadata": {"run": file_id}}
        return self.until(self.call("POST", "/batches", body, headers=headers)["id"])

    def ledger(self, batch_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.call("GET", f"/batches/{batch_id}/lines").splitlines()]

    def refused(self, body: object, *, path: str = "/batches/plan", **headers: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the error of a plan, or of a create, that is refused."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self.call("POST", path, body, headers=sent)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read())["error"]
        raise AssertionError("nothing was refused")


def sandbox() -> Sandbox:
    """Return the stand-ins, not yet running."""
    return Sandbox(options={each.provider: each.quick for each in every()})


def started(home: Path, sandbox: Sandbox) -> Planning:
    """Return a running gateway: `lane`, `narrow` and `picky` are OpenAI's, `north` and `south` Anthropic's."""
    keys = {
        "lane": lane(sandbox, max_lines_per_job=3),
        "narrow": lane(sandbox, max_bytes_per_job=1_500),
        "picky": lane(sandbox, models=[NANO]),
        "north": lane(sandbox, provider="anthropic", max_lines_per_job=2),
        "south": lane(sandbox, provider="anthropic"),
    }
    gateway = Planning(home, keys, api_keys=[{"name": "other", "key": OTHER_KEY, "workspace": "other"}])
    gateway.start()
    return gateway


def line(n: int, model: str, text: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a chat line that every lane takes unless `more` says otherwise."""
    body = {"model": model, "messages": [{"role": "user", "content": text or f"Say {n}"}], "max_tokens": 10} | dict(
        more or {}
    )
    return {"custom_id": f"é {n}", "method": "POST", "url": CHAT, "body": body}


def plain(model: str) -> str:
    """Return what was asked for, of a model with its account in front or its date behind."""
    name = model.partition("/")[2] if model.startswith("@") else model
    return re.sub(r"-20\d\d-?\d\d-?\d\d$", "", name)
