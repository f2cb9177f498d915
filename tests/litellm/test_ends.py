"""Processes end: the child under LiteLLM, LiteLLM under the gateway, all of it."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import psutil
import pytest
import yaml

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.litellm import rig
from tests.litellm.conftest import Form
from tests.litellm.rig import KEY, SLUG, asked, multipart
from tests.support.waiting import until

MINE = {"Authorization": f"Bearer {KEY}"}
OURS = MINE | {"x-portkey-virtual-key": SLUG}
CHAT = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "hello"}]}).encode()


def upload(url: str, count: int = 3, who: dict[str, str] = OURS) -> str:
    head, body = multipart(rig.lines(count))
    status, answer = asked(f"{url}/v1/files", who | head, body)
    assert status == 200, answer
    return str(json.loads(answer)["id"])


def create(url: str, file_id: str, who: dict[str, str] = OURS) -> str:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    head = who | {"content-type": "application/json"}
    status, answer = asked(f"{url}/v1/batches", head, json.dumps(body).encode())
    assert status == 200, answer
    return str(json.loads(answer)["id"])


def ended(url: str, batch_id: str, who: dict[str, str] = OURS) -> dict[str, object] | None:
    status, answer = asked(f"{url}/v1/batches/{batch_id}", who)
    assert status == 200, answer
    batch = json.loads(answer)
    return batch if batch["status"] in {"completed", "failed", "expired", "cancelled"} else None


def chat(url: str, who: dict[str, str] = MINE) -> tuple[int, bytes]:
    return asked(f"{url}/v1/chat/completions", who | {"content-type": "application/json"}, CHAT)


def test_two_workers_have_one_gateway_behind_a_socket_of_their_own(inside: Form) -> None:
    assert inside.litellm is not None
    upload(inside.url)
    programs = [" ".join(each.cmdline()) for each in inside.litellm.tree()]
    assert sum("spawn_main" in each for each in programs) >= 2, programs
    assert len(rig.gateways(inside.config)) == 1
    folder = Path(yaml.safe_load(inside.config.read_text())["proxy_plugin"]["storage"]["data_dir"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("gateway.sock", "gateway.facts", "gateway.users", "gateway.keeper"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_killed_gateway_is_there_again_and_nothing_is_lost(inside: Form, sandbox: Sandbox) -> None:
    (child,) = rig.gateways(inside.config)
    batch = create(inside.url, upload(inside.url, 50))
    before = len(sandbox.control.log())
    child.send_signal(signal.SIGKILL)
    status, answer = asked(f"{inside.url}/v1/batches/{batch}", OURS)
    assert status == 200, answer
    (again,) = rig.gateways(inside.config)
    assert again.pid != child.pid
    done = until(lambda: ended(inside.url, batch), "the end of the batch")
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 50, "completed": 50, "failed": 0}
    assert len(sandbox.control.log()) <= before + 1


def test_litellms_own_word_for_who_calls_counts(teams: Form) -> None:
    """Keys that only LiteLLM knows, without a header of ours: each team has its own files."""
    ones, twos = ({"Authorization": f"Bearer {key}"} for key in rig.TEAM_KEYS)
    head, body = multipart(rig.lines())
    status, answer = asked(f"{teams.url}/v1/files", ones | head, body)
    assert status == 200, answer
    file_id = json.loads(answer)["id"]
    assert asked(f"{teams.url}/v1/files/{file_id}", ones)[0] == 200
    assert asked(f"{teams.url}/v1/files/{file_id}", twos)[0] == 404
    batch = create(teams.url, file_id, ones)
    assert until(lambda: ended(teams.url, batch, ones), "the end of the batch")["status"] == "completed"
    assert asked(f"{teams.url}/v1/batches/{batch}", twos)[0] == 404
    nobody = {"Authorization": "Bearer sk-of-nobody"}
    assert asked(f"{teams.url}/v1/files", nobody) == asked(f"{teams.url}/v1/models", nobody), "LiteLLM's own refusal"
    assert asked(f"{teams.url}/v1/files", nobody)[0] >= 400


def test_in_front_of_it_its_word_counts_too(teams: Form, base: Path, sandbox: Sandbox) -> None:
    """A LiteLLM without a database tells of a key only that it is accepted: each key has a workspace of its own."""
    home = base / "teams_in_front"
    home.mkdir()
    more = {"proxy_plugin": {"auth": "litellm"}}
    path = rig.config(home, sandbox.url(), "http://127.0.0.1:9/v1", upstream=teams.url, more=more)
    ours = rig.gateway(home, path).start()
    try:
        ones, twos = ({"Authorization": f"Bearer {key}", "x-portkey-virtual-key": SLUG} for key in rig.TEAM_KEYS)
        assert chat(ours.url, ones)[0] == 200
        file_id = upload(ours.url, who=ones)
        assert asked(f"{ours.url}/v1/files/{file_id}", ones)[0] == 200
        assert asked(f"{ours.url}/v1/files/{file_id}", twos)[0] == 404
        batch = create(ours.url, file_id, ones)
        assert until(lambda: ended(ours.url, batch, ones), "the end of the batch")["status"] == "completed"
        nobody = {"Authorization": "Bearer sk-of-nobody", "x-portkey-virtual-key": SLUG}
        assert asked(f"{ours.url}/v1/files", nobody)[0] == 401
    finally:
        ours.stop()


def test_the_gateway_ends_with_litellm_and_one_that_was_there_stays(teams: Form, base: Path, sandbox: Sandbox) -> None:
    """Last of those that use this LiteLLM: it is killed, started again behind another gateway, and ended."""
    assert teams.litellm is not None
    sandbox.control.options(run_seconds=3600)
    before = len(sandbox.control.log())
    batch = create(teams.url, upload(teams.url))
    until(lambda: len(sandbox.control.log()) > before, "the job")
    (child,) = rig.gateways(teams.config)
    teams.litellm.kill()
    psutil.wait_procs([child], 30)
    assert rig.gateways(teams.config) == []
    sandbox.control.options(run_seconds=0)
    sandbox.control.advance(3601)
    socket = base / "teams" / "var" / "gateway.sock"
    ours = rig.gateway(base / "teams", teams.config, "--socket", str(socket)).start()
    try:
        assert until(lambda: ended(ours.url, batch), "the end of the batch")["status"] == "completed"
        teams.litellm.start()
        assert ended(teams.url, batch), "LiteLLM uses the gateway that it has found"
        teams.litellm.kill(signal.SIGTERM)
        assert ours.answers("/healthz")
    finally:
        ours.stop()


def test_litellm_dies_under_the_gateway_and_batches_go_on(front: Form) -> None:
    assert front.litellm is not None
    assert chat(front.url)[0] == 200
    assert rig.gateways(front.config) == [], "the plugin does nothing where the gateway stands in front"
    front.litellm.kill()
    status, answer = chat(front.url)
    error = json.loads(answer)["error"]
    assert (status, error["code"], error["type"]) == (502, "upstream_failed", "server_error")
    batch = create(front.url, upload(front.url))
    assert until(lambda: ended(front.url, batch), "the end of the batch")["status"] == "completed"
    front.litellm.start()
    assert chat(front.url)[0] == 200


@pytest.mark.parametrize("form", ["inside", "front"], indirect=True)
def test_litellm_is_told_once_what_a_batch_has_cost(form: Form) -> None:
    """By the socket inside, by the plugin's route in front. Without a database callbacks alone see it."""
    batch = create(form.url, upload(form.url))
    assert until(lambda: ended(form.url, batch), "the end of the batch")["status"] == "completed"
    until(lambda: [each for each in form.spent() if each["call"] == batch], "the report")
    other = create(form.url, upload(form.url))
    until(lambda: [each for each in form.spent() if each["call"] == other], "the report behind it")
    [told] = [each for each in form.spent() if each["call"] == batch]
    assert told["key"] == "litellm_proxy_master_key"
    assert told["cost"] > 0
    assert told["tokens"] > 0
    assert asked(f"{form.litellm and form.litellm.url}/proxy-plugin/spend", {}, b"{}")[0] in (401, 404, 405)


def test_a_key_of_ours_goes_on_and_is_charged_as_the_one_that_it_stands_for(front: Form) -> None:
    dev = {"Authorization": f"Bearer {rig.DEV}"}
    assert chat(front.url, dev)[0] == 200
    assert front.litellm is not None
    assert chat(front.litellm.url, dev)[0] >= 400, "LiteLLM does not know it"
    dev |= {"x-portkey-virtual-key": SLUG}
    file_id = upload(front.url, who=dev)
    batch = create(front.url, file_id, dev)
    assert until(lambda: ended(front.url, batch, dev), "the end of the batch")["status"] == "completed"
    [told] = until(lambda: [each for each in front.spent() if each["call"] == batch], "the report")
    assert (told["key"], told["cost"] > 0) == ("litellm_proxy_master_key", True)
