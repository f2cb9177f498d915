"""Run a command against a gateway in front of stand-ins for OpenAI and Anthropic: nothing leaves this machine.

python examples/sandbox.py COMMAND ...    or without one, until Ctrl-C
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import yaml

from proxy_plugin.providers.sandbox import virtual_keys
from proxy_plugin.providers.sandbox.process import Sandbox

ACCOUNTS = {"openai-prod": "openai", "anthropic-prod": "anthropic"}
SECONDS = 1.0  # that a job takes


def main(command: list[str]) -> int:
    key, port = f"sk-{secrets.token_hex(16)}", free_port()
    options = {}
    for provider in ACCOUNTS.values():
        options |= virtual_keys.paced(provider, SECONDS)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Sandbox(providers=[*ACCOUNTS.values()], options=options) as sandbox,
    ):
        ours = {
            "server": {"port": port},
            "storage": {"data_dir": f"{folder}/var"},
            "api_keys": [{"name": "examples", "key": key}],
            "virtual_keys": {
                slug: virtual_keys.virtual_key(name, sandbox.url(name)) for slug, name in ACCOUNTS.items()
            },
            "engine": {"poll_seconds_first": 0.2, "poll_seconds_max": 2},
        }
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump({"proxy_plugin": ours}))
        url = f"http://127.0.0.1:{port}/v1"
        known = {"PROXY_PLUGIN_BASE_URL": url, "PORTKEY_API_KEY": key}
        with Path(folder, "gateway.log").open("wb") as log:
            serve = [sys.executable, "-m", "proxy_plugin", "serve", "--config", str(config)]
            gateway = subprocess.Popen(serve, stderr=log, start_new_session=True)
        try:
            wait_for(url.replace("/v1", "/healthz"), gateway)
            return run(command, known)
        finally:
            gateway.terminate()
            gateway.wait()


def run(command: list[str], known: dict[str, str]) -> int:
    if command:
        return subprocess.run(command, env=os.environ | known, check=False).returncode
    for name, value in known.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)
    print("# Ctrl-C ends gateway and sandbox", flush=True)
    signal.pause()
    return 0


def wait_for(url: str, gateway: subprocess.Popen[bytes]) -> None:
    while gateway.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"the gateway ended with {gateway.returncode}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
