"""The gateway process as the suite drives it: two workspaces, several virtual keys, and every answer kept."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.stack import ENDS, Gateway, GatewayGone, jsonl
from tests.whole.contract.cases import CHAT

OTHER_KEY = "gateway-key-of-another-workspace"
OTHERS = {"x-portkey-api-key": OTHER_KEY}


@dataclass
class Client(Gateway):
    """See `Gateway`. `answers` is the text of everything that the gateway ever answered."""

    endpoint: str = CHAT
    answers: list[str] = field(default_factory=list, repr=False)

    def write_config(self) -> None:
        super().write_config()
        whole = yaml.safe_load(self.config.read_text())
        whole["proxy_plugin"]["api_keys"].append({"name": "other", "key": OTHER_KEY, "workspace": "other"})
        self.config.write_text(yaml.safe_dump(whole))

    def start(self, *, fail: str = "", wait: bool = True, env: Mapping[str, str] | None = None) -> None:
        super().start(fail=fail, wait=wait, env=env)
        assert not wait or self.alive(), f"the gateway does not start:\n{self.tail()}"

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        root: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Any:
        answer = super().call(method, path, body, root=root, headers=headers, timeout=timeout)
        self.answers.append(answer.decode() if isinstance(answer, bytes) else json.dumps(answer))
        return answer

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status of an answer that may be an error, and what it says."""
        try:
            return 200, self.call(method, path, body, headers=headers)
        except urllib.error.HTTPError as refused:
            with refused:
                status, text = refused.code, refused.read().decode()
        self.answers.append(text)
        return status, json.loads(text) if text else None

    def order(self, file_id: str, slug: str = "lane", headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        """Create a batch of a file on a virtual key and return the answer."""
        body = {"input_file_id": file_id, "endpoint": self.endpoint, "completion_window": "24h"} | more
        return self.call("POST", "/batches", body, headers={"x-portkey-virtual-key": slug} | dict(headers or {}))

    def submit(self, lines: Iterable[Mapping[str, Any]], slug: str = "lane") -> str:
        """Upload lines, create a batch of them and return its id."""
        return str(self.order(self.upload(jsonl(lines)), slug)["id"])

    def run(self, lines: Iterable[Mapping[str, Any]], slug: str = "lane") -> dict[str, Any]:
        """Return the ended batch of these lines."""
        return self.until(self.submit(lines, slug))

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """Cancel a batch and return it."""
        answer = self.call("POST", f"/batches/{batch_id}/cancel")
        assert isinstance(answer, dict)
        return answer

    def again(self) -> None:
        """Kill the process as a power cut would, and start it anew."""
        self.kill()
        self.start()

    def idle(self) -> bool:
        """Tell whether it answers and nothing is left to do in any workspace; a guess is audited for hours."""
        try:
            pages = [self.call("GET", "/batches?limit=100", headers=headers, timeout=5) for headers in ({}, OTHERS)]
        except (GatewayGone, urllib.error.HTTPError):
            return False
        guessed = b'"event": "resent_on_a_guess"' in self.log.read_bytes()
        return not guessed and all(batch["status"] in ENDS for page in pages for batch in page["data"])
