"""The README does what it says: its quickstart runs as printed, its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.ports import free_port
from tools.tables import README, rendered

ROOT = README.parent


def block(language: str, containing: str) -> str:
    """Return the README's code block of a language that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return next(str(text) for text in blocks if containing in text)


def test_the_provider_matrix_is_that_of_the_capability_records() -> None:
    assert rendered(README.read_text()) == README.read_text(), "stale: run make docs"


def test_the_make_targets_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README.read_text())) <= targets


def test_the_quickstart_runs_as_printed(sandbox: Sandbox, tmp_path: Path) -> None:
    """The shell lines with the shipped config.yaml, whose provider is pointed at the sandbox; then the Python lines."""
    port = free_port()
    serve = next(line for line in block("sh", "serve").splitlines() if " serve " in line)
    arguments = serve.split("proxy-plugin ")[1].split()
    program = block("python", "OpenAI(").replace("127.0.0.1:8787", f"127.0.0.1:{port}")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["proxy_plugin"]["virtual_keys"]["openai-prod"]["custom_host"] = sandbox.url("openai")
    config["proxy_plugin"]["server"]["port"] = port
    config["proxy_plugin"]["storage"]["data_dir"] = str(tmp_path / "var")
    config["proxy_plugin"]["engine"] = {"poll_seconds_first": 0.2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    env = os.environ | {"LITELLM_MASTER_KEY": "quickstart-gateway-key", "OPENAI_API_KEY": "sk-sandbox"}
    gateway = subprocess.Popen(
        [sys.executable, "-m", "proxy_plugin", *arguments],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert gateway.stderr is not None
        while '"listening"' not in gateway.stderr.readline():
            assert gateway.poll() is None
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
    finally:
        gateway.kill()
        gateway.communicate()

    assert done.returncode == 0, done.stderr
    first, *answers = done.stdout.splitlines()
    assert first.startswith("completed")
    assert [answer.split()[0] for answer in answers] == ["q-0", "q-1", "q-2"]
    assert "バッチとは?" in answers[2]
