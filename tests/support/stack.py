"""The real thing for tests: the sandbox process, the gateway process, and a client that only knows HTTP."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.nursery import SOONER, Process, fork
from tests.support.ports import free_port
from tests.support.shared_form import SharedForm
from tests.support.signals import heard

KEY = "gateway-key-for-tests"
METRICS_KEY = "metrics-key-for-tests"
MAY_READ_METRICS = {"Authorization": f"Bearer {METRICS_KEY}"}
ENDS = {"completed", "failed", "expired", "cancelled"}
HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "lane"}
PATIENT: dict[str, Any] = {"poll_seconds_first": 0.05, "poll_seconds_max": 0.3}
QUICK = {"poll_seconds_first": 0.02, "poll_seconds_max": 0.05, "workers": 1}  # ten looks at results take 0.4 s


class GatewayGone(Exception):
    """The gateway did not answer: it was killed, or is not there yet."""


@dataclass
class Gateway:
    """One gateway on one data_dir, started and killed at will. The port stays the same over restarts."""

    home: Path
    virtual_keys: dict[str, dict[str, Any]]
    engine: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    api_keys: list[dict[str, Any]] = field(default_factory=list)  # beside the one of the tests, which comes first
    server: dict[str, Any] = field(default_factory=dict)
    configs: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)  # other sections of ours; each replaces what is here
    litellm: dict[str, Any] = field(default_factory=dict)  # LiteLLM's sections, beside ours
    env: dict[str, str] = field(default_factory=dict)  # of the process
    asks: dict[str, str] = field(default_factory=dict)  # headers of every call, over HEADERS
    before: Path | None = None  # a checkout of an earlier version: every life that has a failpoint runs it
    data_dir: Path | None = None
    endpoint: str = "/v1/chat/completions"  # of its batches
    wrap: list[str] = field(default_factory=list)  # a command that runs the gateway, such as strace
    process: Process | None = None
    shared: ClassVar[SharedForm | None] = None  # where all gateways keep what they have, with `--shared`
    quick: ClassVar[bool] = False  # in the suite: gateways are forked, have one worker and hardly pause

    def __post_init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.data = self.data_dir or self.home / "data"
        self.config = self.home / "config.yaml"
        self.log = self.home / "gateway.log"
        self.write_config()

    def write_config(self) -> None:
        """Write the config file from the fields."""
        ours = {
            "server": {"host": "127.0.0.1", "port": self.port, "metrics_key": METRICS_KEY} | self.server,
            "storage": self.shared.storage(self.data) if self.shared else {"data_dir": str(self.data)},
            "api_keys": [{"name": "tests", "key": KEY}, *self.api_keys],
            "virtual_keys": self.virtual_keys,
            "configs": self.configs,
            "engine": (QUICK if self.quick else PATIENT) | self.engine,
            "limits": {"disk_reserve_bytes": 0} | self.limits,
        }
        self.config.write_text(yaml.safe_dump(self.litellm | {"proxy_plugin": ours | self.sections}))

    def start(self, *, fail: str = "", wait: bool = True, env: Mapping[str, str] | None = None) -> None:
        """Start the process; with `wait` return when it is healthy, or gone at a failpoint."""
        command = [*self.wrap, sys.executable, "-m", "proxy_plugin", "serve", "--config", str(self.config)]
        earlier = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(self.before)} if fail and self.before else {}
        sooner = SOONER if self.shared and self.quick else {}
        variables = os.environ | sooner | {"PROXY_PLUGIN_FAIL": fail} | earlier | self.env | dict(env or {})
        if self.quick and not self.wrap and not self.before:
            self.process = fork(self.config, self.log, variables)
        else:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, preexec_fn=heard)
        if wait:
            self.until_healthy()

    def until_healthy(self, seconds: float = 20) -> None:
        """Return when /healthz answers or the process is gone."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.alive():
            try:
                self.call("GET", "/healthz", root=True, timeout=2)
            except GatewayGone:
                time.sleep(0.02)
            else:
                return
        assert not self.alive(), f"the gateway is not healthy:\n{self.tail()}"

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send a signal; after a deadly one return when the process is gone."""
        assert self.process is not None
        self.process.send_signal(sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait(60)

    def close(self) -> None:
        """End the process whatever state it is in."""
        if self.process is not None and self.alive():
            self.process.kill()
            self.process.wait(10)

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text()[-4000:]

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
        """Make one call; bytes are returned for content, JSON otherwise. Raises GatewayGone, HTTPError."""
        url = (self.url.removesuffix("/v1") if root else self.url) + path
        data = None if body is None else json.dumps(body).encode() if not isinstance(body, bytes) else body
        request = urllib.request.Request(url, data=data, method=method)
        asked = HEADERS | {"content-type": "application/json"} | self.asks | dict(headers or {})
        for name, value in asked.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                content = response.read()
                kind = response.headers.get_content_type()
                return json.loads(content) if kind == "application/json" else content
        except urllib.error.HTTPError as refusal:
            with refusal:
                content = io.BytesIO(refusal.read())
            raise urllib.error.HTTPError(url, refusal.code, refusal.reason, refusal.headers, content) from None
        except OSError as error:
            raise GatewayGone(str(error)) from error

    def upload(self, content: bytes, filename: str = "input.jsonl") -> str:
        """Upload a batch file and return its id."""
        edge = "edge-of-the-tests"
        parts = (
            f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n",
            content,
            f"\r\n--{edge}--\r\n".encode(),
        )
        headers = {"content-type": f"multipart/form-data; boundary={edge}"}
        return str(self.call("POST", "/files", b"".join(parts), headers=headers)["id"])

    def create(self, file_id: str, *, retry: int = 0, **more: Any) -> dict[str, Any]:
        """Create a batch of a file."""
        body = {"input_file_id": file_id, "endpoint": self.endpoint, "completion_window": "24h"} | more
        answer = self.call("POST", "/batches", body, headers={"x-stainless-retry-count": str(retry)})
        assert isinstance(answer, dict)
        return answer

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return a batch."""
        answer = self.call("GET", f"/batches/{batch_id}")
        assert isinstance(answer, dict)
        return answer

    def until(self, batch_id: str, statuses: Iterable[str] = ENDS, seconds: float = 60) -> dict[str, Any]:
        """Return the batch when it has one of the statuses. Raises GatewayGone if the gateway dies first."""
        wanted, deadline = set(statuses), time.monotonic() + seconds
        while (batch := self.batch(batch_id))["status"] not in wanted:
            assert time.monotonic() < deadline, f"still {batch}\n{self.tail()}"
            time.sleep(0.03)
        return batch

    def until_event(self, seen: Callable[[str], bool], seconds: float = 60) -> None:
        """Return when the gateway's log has something. Raises GatewayGone if the gateway is gone by then."""
        deadline = time.monotonic() + seconds
        while not seen(self.log.read_text()):
            if not self.alive():
                raise GatewayGone("gone while its log was read")
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.02)

    def samples(self) -> dict[str, int]:
        """Return the whole numbers of /metrics, by name with labels; its counts are up to two seconds old."""
        text = self.call("GET", "/metrics", root=True, headers=MAY_READ_METRICS).decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def rows(self, file_id: str | None) -> list[dict[str, Any]]:
        """Return the rows of an output or error file."""
        if file_id is None:
            return []
        content = self.call("GET", f"/files/{file_id}/content")
        assert isinstance(content, bytes)
        return [json.loads(line) for line in content.splitlines()]


def lane(sandbox: Sandbox, **options: Any) -> dict[str, Any]:
    """Return virtual key settings that lead to the sandbox, to OpenAI's stand-in unless `provider` says another."""
    provider = str(options.get("provider", "openai"))
    return find(provider).virtual_key(sandbox.url(provider), **{"settle_seconds": 0.5, **options})
