"""The gateway process as the suite drives it: two workspaces, several virtual keys, and every answer kept."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.lines import jsonl
from tests.support.stack import ENDS, Gateway, GatewayGone

OTHER_KEY = "gateway-key-of-another-workspace"
OTHERS = {"x-portkey-api-key": OTHER_KEY}


def _other_workspace() -> list[dict[str, Any]]:
    return [{"name": "other", "key": OTHER_KEY, "workspace": "other"}]


@dataclass
class Client(Gateway):
    """See `Gateway`. `answers` is the text of everything that the gateway ever answered.

    Virtual keys are named without the `prefix`, which says whose they are.
    """

    api_keys: list[dict[str, Any]] = field(default_factory=_other_workspace)
    prefix: str = ""
    answers: list[str] = field(default_factory=list, repr=False)
    _read: int = 0  # bytes of the log

    def of(self, prefix: str, endpoint: str) -> None:
        """Speak for the virtual keys of this prefix from now on."""
        self.prefix, self.endpoint = prefix, endpoint
        self.asks = {"x-portkey-virtual-key": f"{prefix}lane"}

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
        asked = {"x-portkey-virtual-key": self.prefix + slug, **(headers or {})}
        return self.call("POST", "/batches", body, headers=asked)

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

    def told(self) -> str:
        """Return what was logged and answered since the last call of this, and forget the answers."""
        log = self.log.read_bytes()
        found = log[self._read :].decode() + "".join(self.answers)
        self._read = len(log)
        self.answers.clear()
        return found

    def idle(self) -> bool:
        """Tell whether it answers and nothing is left to do in any workspace."""
        try:
            pages = [self.call("GET", "/batches?limit=100", headers=headers, timeout=5) for headers in ({}, OTHERS)]
        except (GatewayGone, urllib.error.HTTPError):
            return False
        return all(batch["status"] in ENDS for page in pages for batch in page["data"])

    def guessed(self) -> bool:
        """Tell whether a part was sent again on a guess: its account is looked at for hours."""
        return b'"event": "resent_on_a_guess"' in self.log.read_bytes()


class Keeper:
    """A gateway that many tests share, made and started when one wants it."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._gateway: Client | None = None

    def ready(self, *, after_guesses: bool = False) -> Client:
        """Return a gateway without unfinished work: the one there is, or a new one after a test that broke off.

        `after_guesses`: calls for the sake of earlier guesses are in nobody's way.
        """
        kept = self._gateway
        if kept is None or not kept.idle() or (kept.guessed() and not after_guesses):
            self.close()
            kept = self._gateway = self._make()
            kept.start()
        return kept

    def close(self) -> None:
        """End the gateway."""
        if self._gateway is not None:
            self._gateway.close()
