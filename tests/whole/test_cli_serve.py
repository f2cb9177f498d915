"""The command line and the process: start, one clear line when it cannot, and a stop that loses nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import yaml

from proxy_plugin import __version__, cli
from proxy_plugin.inside.words import listens
from tests.support.folders import below
from tests.support.lines import chat_lines, jsonl
from tests.support.ports import free_port
from tests.support.served import configuration
from tests.support.signals import heard
from tests.support.stack import MAY_READ_METRICS, Gateway
from tests.support.waiting import until

LANE = {"provider": "openai", "api_key": "sk-sandbox-key", "custom_host": "http://127.0.0.1:9/v1"}
COMMAND = [sys.executable, "-m", "proxy_plugin"]


class Command(Gateway):
    """A gateway that its command starts."""

    quick: ClassVar[bool] = False


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Command(tmp_path, {"lane": LANE})
    yield made
    made.close()


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    variables = os.environ | (env or {})
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False, env=variables
    )


def written(path: Path, content: dict[str, Any] | str) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def events(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.log.read_text().splitlines()]


def status(gateway: Gateway, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def refused_with(call: Callable[[], object]) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        call()
    with refused.value:
        return refused.value.code


def heaps_of_threads(pid: int) -> int:
    """Return how many heaps glibc has made for threads: each begins at a multiple of 64 MiB."""
    starts = [line.split("-")[0] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith(" 0 ")]
    return sum(int(start, 16) % 2**26 == 0 for start in starts)


def begin_upload(gateway: Gateway, size: int) -> socket.socket:
    """Send the head and the first half of an upload."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    body = _form(size)
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nx-portkey-api-key: gateway-key-for-tests\r\n"
        f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body[: len(body) // 2])
    until(lambda: _metric(gateway, "uploads_running") == "1")
    return client


def _form(size: int) -> bytes:
    start = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    file = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    return start + file + b'{"custom_id":"%b"}\n' % (b"x" * size) + b"\r\n--edge--\r\n"


def _metric(gateway: Gateway, name: str) -> str:
    lines: list[str] = gateway.call("GET", "/metrics", root=True, headers=MAY_READ_METRICS).decode().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"proxy_plugin_{name} "))


def test_a_virtual_key_without_its_variable_is_logged_and_the_rest_is_served(tmp_path: Path) -> None:
    missing = {"provider": "openai", "api_key": "os.environ/NO_SUCH_VARIABLE_HERE"}
    gateway = Command(tmp_path, {"lane": LANE, "missing": missing})
    try:
        gateway.start()
        [line] = [event for event in events(gateway) if event["event"] == "virtual_key_disabled"]
        assert (line["virtual_key"], line["level"]) == ("missing", "warning")
        assert "NO_SUCH_VARIABLE_HERE" in line["reason"]
        assert status(gateway, "/readyz") == 200
    finally:
        gateway.close()


def test_it_serves_logs_without_secrets_and_hides_what_it_runs_on(gateway: Gateway) -> None:
    gateway.start()
    [line] = [event for event in events(gateway) if event["event"] == "listening"]
    assert (line["host"], line["port"]) == ("127.0.0.1", gateway.port)
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/healthz", timeout=5) as answer:
        assert "Server" not in answer.headers
    assert gateway.process is not None
    assert heaps_of_threads(gateway.process.pid) == 0
    assert status(gateway, "/readyz") == 200
    assert status(gateway, "/v1/chat/completions") == 404
    gateway.call("GET", "/batches?after=&x=gateway-key-for-tests")
    wrong = {"x-portkey-api-key": "sk-wrong-but-secret"}
    assert refused_with(lambda: gateway.call("GET", "/batches", headers=wrong)) == 401
    gateway.kill(signal.SIGTERM)
    assert gateway.process is not None
    assert gateway.process.returncode == 0
    assert events(gateway)[-1]["event"] == "stopped"
    assert [event["status"] for event in events(gateway) if event["event"] == "request"] == [200, 401]
    for secret in ("gateway-key-for-tests", "sk-sandbox-key", "sk-wrong-but-secret"):
        assert secret not in gateway.log.read_text(), "no log line of the whole run shows a secret"


def test_a_stop_lets_a_running_upload_finish_and_refuses_new_ones(gateway: Gateway) -> None:
    gateway.start()
    with begin_upload(gateway, 400_000) as client:
        gateway.kill(signal.SIGINT)
        until(lambda: status(gateway, "/readyz") == 503)
        assert refused_with(lambda: gateway.upload(b"{}\n")) == 503
        assert refused_with(lambda: gateway.create("file-1")) == 503
        assert gateway.call("GET", "/files")["data"] == []
        body = _form(400_000)
        client.sendall(body[len(body) // 2 :])
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        file_id = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0
    gateway.start()
    assert [file["id"] for file in gateway.call("GET", "/files")["data"]] == [file_id]


def test_a_second_signal_ends_at_once(gateway: Gateway) -> None:
    gateway.start()
    with begin_upload(gateway, 400_000):
        gateway.kill(signal.SIGINT)
        until(lambda: status(gateway, "/readyz") == 503)
        gateway.kill(signal.SIGINT)
        assert gateway.process is not None
        assert gateway.process.wait(60) == 128 + signal.SIGINT
    gateway.start()
    assert gateway.call("GET", "/files")["data"] == []


def test_a_second_gateway_on_the_same_data_is_refused(gateway: Gateway) -> None:
    gateway.start()
    second = run("serve", "--config", str(gateway.config), "--port", "0")
    assert (second.returncode, second.stdout) == (2, "")
    [line] = second.stderr.splitlines()
    assert line.startswith("proxy-plugin: ")
    assert "in use by another gateway" in line
    assert status(gateway, "/readyz") == 200


def test_after_a_kill_the_next_start_needs_nothing(gateway: Gateway) -> None:
    gateway.start()
    gateway.kill(signal.SIGKILL)
    gateway.start()
    assert status(gateway, "/readyz") == 200


def test_host_and_port_of_the_command_line_win(gateway: Gateway) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--config", str(gateway.config), "--host", "localhost", "--port", str(port)],
        stderr=subprocess.DEVNULL,
        preexec_fn=heard,
    )
    try:
        until(lambda: _answers(port))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def test_other_machines_are_not_served_without_keys(tmp_path: Path) -> None:
    config = written(tmp_path / "c.yaml", configuration(tmp_path / "data", api_keys=[]))
    refused = run("serve", "--config", config, "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert "api_keys" in line


def test_an_address_that_is_taken_is_one_clear_line(gateway: Gateway) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", gateway.port))
        taken.listen()
        refused = run("serve", "--config", str(gateway.config))
    assert refused.returncode == 2
    assert "address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("a: [", "c.yaml"),
        ({"proxy_plugin": {"sever": {}}}, "proxy_plugin.sever"),
        ({"proxy_plugin": {"server": {"port": "x"}, "api_keys": [{}]}}, "proxy_plugin.server.port"),
    ],
)
@pytest.mark.parametrize(("command", "code"), [("serve", 2), ("check", 1)])
def test_a_wrong_configuration_is_said_line_by_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    content: dict[str, Any] | str | None,
    says: str,
) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        written(path, content)
    assert cli.main([command, "--config", str(path)]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert all(line.startswith("proxy-plugin: ") for line in said.err.splitlines())


def test_a_data_dir_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    refused = run("serve", "--config", written(tmp_path / "c.yaml", configuration(Path("/proc/nowhere"))))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "proxy_plugin.storage.data_dir: /proc" in refused.stderr


def test_a_registry_that_is_no_database_is_one_clear_line(gateway: Gateway) -> None:
    gateway.data.mkdir()
    (gateway.data / "registry.sqlite3").write_text("this is no database, " * 100)
    refused = run("serve", "--config", str(gateway.config))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "registry" in refused.stderr


@pytest.mark.parametrize(
    ("server", "data_dir", "says"),
    [
        ({"host": "0.0.0.0"}, "data", "no key is configured, so 0.0.0.0 cannot be served"),
        ({}, "c.yaml/data", "c.yaml is no folder that can be written"),
    ],
)
def test_check_says_what_serve_would_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: dict[str, Any], data_dir: str, says: str
) -> None:
    storage = {"data_dir": str(tmp_path / data_dir)}
    path = written(tmp_path / "c.yaml", {"proxy_plugin": {"server": server, "storage": storage}})
    assert cli.main(["check", "--config", path]) == 1
    assert says in capsys.readouterr().err


def test_a_hangup_applies_the_file_again(tmp_path: Path) -> None:
    lane = LANE | {"api_key": "os.environ/SOME_KEY"}
    gateway = Command(tmp_path, {"lane": lane}, env={"SOME_KEY": "sk-of-the-start"})
    try:
        gateway.start()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(as_new(gateway))
        gateway.api_keys.append({"name": "new", "key": "a-new-key-of-the-file"})
        gateway.virtual_keys["second"] = LANE | {"api_key": "sk-second-0123456789"}
        gateway.write_config()
        gateway.kill(signal.SIGHUP)
        until(lambda: [line for line in events(gateway) if line["event"] == "reloaded"])
        with urllib.request.urlopen(as_new(gateway)) as answer:
            assert answer.status == 200
        [line] = [line for line in events(gateway) if line["event"] == "reloaded"]
        assert line["virtual_keys"] == 2, "the variable of the first one is still known"
        gateway.config.write_text("proxy_plugin: {virtual_keys: {lane: {provider: opnai}}}")
        gateway.kill(signal.SIGHUP)
        [refused, *_] = until(lambda: [line for line in events(gateway) if line["event"] == "reload_refused"])
        assert refused["problems"][0].startswith("proxy_plugin.virtual_keys.lane.provider: unknown provider")
        with urllib.request.urlopen(as_new(gateway)) as answer:
            assert answer.status == 200
    finally:
        gateway.close()


def as_new(gateway: Gateway) -> urllib.request.Request:
    return urllib.request.Request(f"{gateway.url}/batches", headers={"x-portkey-api-key": "a-new-key-of-the-file"})


def test_check_shows_what_is_served_and_no_secret(gateway: Gateway) -> None:
    shown = run("check", "--config", str(gateway.config))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "lane" in shown.stdout
    assert f"127.0.0.1:{gateway.port}" in shown.stdout
    assert "sk-sandbox-key" not in shown.stdout
    assert "gateway-key-for-tests" not in shown.stdout
    assert not gateway.data.exists()


def test_version_and_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"proxy-plugin {__version__}\n")
    for wrong in ([], ["serve", "--config", "x", "--port", "70000"], ["check", "--config", "x", "--odd"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(wrong)
        assert ended.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_metrics_may_have_a_port_of_their_own(tmp_path: Path) -> None:
    gateway = Command(tmp_path, {"lane": LANE}, server={"metrics_port": 0})
    try:
        gateway.start()
        found = {event["serves"]: event["port"] for event in events(gateway) if event["event"] == "listening"}
        assert found["gateway"] == gateway.port
        for path in ("/healthz", "/readyz", "/metrics"):
            request = urllib.request.Request(f"http://127.0.0.1:{found['metrics']}{path}", headers=MAY_READ_METRICS)
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.status == 200
        assert status(gateway, "/metrics") == 404
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{found['metrics']}/v1/files", timeout=5)
    finally:
        gateway.close()


def test_what_the_gateway_writes_and_runs_is_its_users_alone(tmp_path: Path) -> None:
    data = tmp_path / "open"
    data.mkdir(mode=0o755)
    gateway = Command(tmp_path, {"lane": LANE}, data_dir=data, env={"ACME_API_KEY": "acme-5up3r-s3cr3t"})
    try:
        gateway.start()
        batch = gateway.create(gateway.upload(jsonl(chat_lines(2))))
        gateway.until(batch["id"], {"in_progress"})
        assert gateway.process is not None
        workers = psutil.Process(gateway.process.pid).children(recursive=True)
        assert workers, "a batch is split in a worker"
        assert not any(b"acme-5up3r-s3cr3t" in Path(f"/proc/{each.pid}/environ").read_bytes() for each in workers)
        modes = {path: path.stat().st_mode & 0o077 for path in [data, *below(data)] if path.exists()}
        assert {str(path) for path, mode in modes.items() if mode} == set()
    finally:
        gateway.close()


def test_a_socket_takes_the_place_of_the_port_and_the_end_comes_with_its_users(gateway: Gateway) -> None:
    users = os.open(gateway.home / "users", os.O_RDWR | os.O_CREAT)
    fcntl.flock(users, fcntl.LOCK_SH)
    path = gateway.home / "gateway.sock"
    more = ["--socket", os.path.relpath(path), "--until-free", str(gateway.home / "users")]
    with subprocess.Popen(
        [*COMMAND, "serve", "--config", str(gateway.config), *more], stderr=subprocess.PIPE
    ) as process:
        until(lambda: listens(path), "the socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert not _answers(gateway.port)
        os.close(users)
        assert process.wait(30) == 0
