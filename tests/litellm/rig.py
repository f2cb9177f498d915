"""The real LiteLLM proxy and this gateway, as processes, on the repository's config.yaml. No database, mock models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support import ports
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
KEY = "sk-0f6d1c9a52e8b7431d88e6f20c5a9b37"  # the one key of both; LiteLLM refuses what is known or short
DEV = "key-of-a-developer"  # one of the gateway's own, in front: LiteLLM gets the one key in its place
SLUG = "openai-prod"  # the virtual key of config.yaml
ENVIRONMENT = {"LITELLM_MASTER_KEY": KEY, "OPENAI_API_KEY": "sk-sandbox", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
MOCKS = {  # model -> what it answers
    "mock": "the mock's answer",
    "mock-embedding": [0.5, 0.25],
    "mock-socket": None,  # a websocket of the tests' own
}
TEAM_KEYS = "sk-key-of-team-one", "sk-key-of-team-two"
CUSTOM_AUTH = """
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth

TEAMS = {"sk-key-of-team-one": "one", "sk-key-of-team-two": "two"}

async def who(request, api_key):
    if api_key not in TEAMS:
        raise HTTPException(401, "no such key")
    return UserAPIKeyAuth(api_key=api_key, key_alias="key of " + TEAMS[api_key], team_id=TEAMS[api_key])
"""
SPENT = "spent.jsonl"
SPY = f"""
import json
from litellm.integrations.custom_logger import CustomLogger

class Spy(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        told = kwargs["standard_logging_object"]
        if told["call_type"] != "aretrieve_batch":
            return
        whose = told["metadata"]
        row = dict(call=kwargs["litellm_call_id"], cost=told["response_cost"], tokens=told["total_tokens"])
        row |= dict(key=whose["user_api_key_hash"], team=whose["user_api_key_team_id"])
        with open("{SPENT}", "a") as file:
            file.write(json.dumps(row) + "\\n")

spy = Spy()
"""
NOTHING: Mapping[str, Any] = {}
START_SECONDS = 300.0  # of LiteLLM on a busy machine; 8 s on a quiet one


def config(
    home: Path, custom_host: str, socket_url: str, *, upstream: str | None = None, more: Mapping[str, Any] = NOTHING
) -> Path:
    """Write the repository's config.yaml with the tests' models, provider and folder; return its path.

    `upstream` is what an operator writes there for the form in front, `more` are settings of sections.
    """
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    found["model_list"][0]["litellm_params"]["api_base"] = custom_host
    for name, answer in MOCKS.items():
        entry = {"model": f"openai/{name}", "api_key": "none", "mock_response": answer}
        if answer is None:
            entry = {"model": f"openai/{name}", "api_key": "none", "api_base": socket_url}
        found["model_list"].append({"model_name": name, "litellm_params": entry})
    found["files_settings"] = [{"custom_llm_provider": "openai", "api_base": custom_host, "api_key": "sk-sandbox"}]
    ours = found["proxy_plugin"]
    ours["virtual_keys"][SLUG]["custom_host"] = custom_host
    ours["storage"]["data_dir"] = str(home / "var")
    ours["engine"] |= {"poll_seconds_first": 0.1, "poll_seconds_max": 0.3, "workers": 1}
    ours["server"] |= {"port": ports.free_port(), "upstream": upstream}
    for section, settings in more.items():
        found[section] |= settings
    found["litellm_settings"]["callbacks"].append("spy.spy")
    (home / "spy.py").write_text(SPY)
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return path


class Served:
    """One process and what it starts, on a port that stays the same over restarts."""

    def __init__(self, home: Path, name: str, arguments: list[str], port: int, healthy: str) -> None:
        self.port, self.url, self.log = port, f"http://127.0.0.1:{port}", home / f"{name}.log"
        self._home, self._arguments, self._healthy = home, arguments, healthy
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Served:
        """Start it; return when it is healthy."""
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._arguments], cwd=self._home, env=environment, stdout=log, stderr=log
            )
        try:
            until(lambda: self.answers(self._healthy), self.told, START_SECONDS)
        except BaseException:  # whoever interrupts a start wants no process left
            self.stop()
            raise
        return self

    def answers(self, path: str) -> bool:
        """Tell whether a path is answered 200."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            assert self.process is not None
            assert self.process.poll() is None, self.told()
            return False

    def told(self) -> str:
        """Return the end of the log."""
        return self.log.read_text()[-6000:]

    def tree(self) -> list[psutil.Process]:
        """Return the process and all below it."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and, where it is killed, the workers that it has; return when they are gone. Not its gateway."""
        mine = [each for each in self.tree() if not is_gateway(each)]
        for each in mine if number == signal.SIGKILL else mine[:1]:
            each.send_signal(number)
        assert self.process is not None
        self.process.wait(60)
        psutil.wait_procs(mine[1:], 60)

    def stop(self) -> None:
        """End all of it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            for each in reversed(self.tree()):
                each.kill()
            self.process.wait(30)


def litellm(home: Path, path: Path, port: int | None = None, workers: int = 1) -> Served:
    """Return a stock `litellm --config`, not started yet."""
    port = port or ports.free_port()
    command = ["--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", str(workers)]
    program = "from litellm.proxy.proxy_cli import run_server; run_server()"
    return Served(home, "litellm", ["-c", program, *command], port, "/health/liveliness")


def gateway(home: Path, path: Path, *more: str) -> Served:
    """Return `proxy-plugin serve`, not started yet."""
    port = yaml.safe_load(path.read_text())["proxy_plugin"]["server"]["port"]
    command = ["-m", "proxy_plugin", "serve", "--config", str(path), "--port", str(port), *more]
    return Served(home, "gateway", command, port, "/healthz")


def gateways(path: Path) -> list[psutil.Process]:
    """Return the gateways that run behind a socket for this configuration, without their workers.

    A child that has not come to its own program yet still shows its parent's command line.
    """
    found = {each.pid: each for each in psutil.process_iter() if is_gateway(each) and str(path) in _command(each)}
    return [each for each in found.values() if _parent(each) not in found]


def is_gateway(process: psutil.Process) -> bool:
    """Tell whether a process is a gateway that was started behind a socket."""
    return {"proxy_plugin", "serve", "--socket"} <= set(_command(process))


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def lines(count: int = 3) -> bytes:
    """Return an input file of chat lines."""
    return "".join(map(_line, range(count))).encode()


def _line(number: int) -> str:
    body = '{"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "hello"}]}'
    return f'{{"custom_id": "q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": {body}}}\n'


def asked(
    url: str, headers: Mapping[str, str], body: bytes | None = None, method: str | None = None
) -> tuple[int, bytes]:
    """Return status and body of one plain call."""
    request = urllib.request.Request(url, body, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def multipart(content: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body of an upload."""
    edge = "edge-of-the-tests"
    parts = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'.encode(),
        content,
        f"\r\n--{edge}--\r\n".encode(),
    )
    return {"content-type": f"multipart/form-data; boundary={edge}"}, b"".join(parts)
