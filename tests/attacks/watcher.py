"""The victim of an attack as a process of its own: it makes calls one after the other, and prints how long each took.

    python -m tests.attacks.watcher '{"url": "http://127.0.0.1:PORT/v1", "headers": {...}}'

It ends when its standard input does. A client in the process of the attacker would measure that one's own load.
"""

from __future__ import annotations

import json
import select
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

TIMEOUT = 30  # seconds of one call
ENDS = {"completed", "failed", "expired", "cancelled"}
EDGE = "edge-of-the-victim"


class Victim:
    """One caller. Raises OSError where it is not served."""

    def __init__(self, url: str, headers: dict[str, str], model: str = "gpt-4.1-nano") -> None:
        self.url, self.headers, self.model = url, headers, model
        self.file = ""

    def healthz(self) -> None:
        """Ask whether the gateway lives."""
        self._call("GET", self.url.removesuffix("/v1") + "/healthz")

    def batch(self) -> None:
        """Upload one line, create a batch and wait for its end."""
        self.file = self._upload()
        body = {"input_file_id": self.file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        found = self._call("POST", self.url + "/batches", body)
        while found["status"] not in ENDS:
            time.sleep(0.02)
            found = self._call("GET", f"{self.url}/batches/{found['id']}")
        if found["request_counts"]["completed"] != 1:
            raise OSError("the batch was not served")

    def plan(self) -> None:
        """Ask for a plan of the last file."""
        self._call("POST", self.url + "/batches/plan", {"input_file_id": self.file, "endpoint": "/v1/chat/completions"})

    def _upload(self) -> str:
        message = {"role": "user", "content": f"Say {uuid.uuid4()}"}
        body = {"model": self.model, "messages": [message]}
        line = {"custom_id": "only", "method": "POST", "url": "/v1/chat/completions", "body": body}
        head = f'--{EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{EDGE}\r\n'
        head += 'Content-Disposition: form-data; name="file"; filename="victim.jsonl"\r\n\r\n'
        content = f"{head}{json.dumps(line)}\n\r\n--{EDGE}--\r\n".encode()
        kind = {"content-type": f"multipart/form-data; boundary={EDGE}"}
        return str(self._call("POST", self.url + "/files", content, kind)["id"])

    def _call(self, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        for name, value in ({"content-type": "application/json"} | self.headers | (headers or {})).items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return json.loads(response.read())


def reading(what: str, call: Callable[[], None]) -> None:
    """Make a call and print how long it took."""
    begun, ok = time.monotonic(), True
    try:
        call()
    except (OSError, ValueError):  # HTTPError is an OSError
        ok = False
    print(json.dumps({"what": what, "ok": ok, "seconds": time.monotonic() - begun}), flush=True)  # noqa: T201 - its output is its answer


def main() -> None:
    """Make calls until standard input ends, each kind once at least."""
    victim = Victim(**json.loads(sys.argv[1]))
    print("ready", flush=True)  # noqa: T201 - its output is its answer
    while True:
        reading("healthz", victim.healthz)
        reading("batch", victim.batch)
        reading("plan", victim.plan)
        if select.select([sys.stdin], [], [], 0.05)[0]:
            return


if __name__ == "__main__":
    main()
