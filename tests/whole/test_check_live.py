"""`check --live`: one call that costs nothing tells an operator which account cannot be used, and why."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from proxy_plugin.providers.sandbox.stand_ins import find, names
from tests.support.ports import free_port

WRONG = "sk-nobody-has-this-58c1"


def checked(home: Path, virtual_keys: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    ours = {"storage": {"data_dir": str(home / "data")}, "virtual_keys": virtual_keys}
    (home / "c.yaml").write_text(yaml.safe_dump({"proxy_plugin": ours}))
    command = [sys.executable, "-m", "proxy_plugin", "check", "--config", str(home / "c.yaml"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wrong_keys(sandbox: Sandbox) -> dict[str, tuple[dict[str, Any], str]]:
    """Return accounts that cannot be used, with what is said of each."""
    lane = find("openai").virtual_key
    base = sandbox.url("openai")
    host = base.removesuffix("/v1")
    return {
        "stranger": (lane(base) | {"api_key": WRONG}, "refuses the key (HTTP 401)"),
        "pathless": (lane(host), "custom_host has the path '/openai', and the provider's own addresses end with '/v1'"),
        "elsewhere": (lane(f"{base}/v1"), "custom_host has the path '/openai/v1/v1', and the provider's own"),
        "copy": ({**lane(host), "provider": "openai-compatible"}, "the path '/openai', and most servers' with '/v1'"),
        "nobody": (lane(f"http://127.0.0.1:{free_port()}/v1"), "cannot be reached"),
    }


@pytest.mark.parametrize("provider", names())
def test_an_account_that_answers_is_usable(tmp_path: Path, sandbox: Sandbox, provider: str) -> None:
    sandbox.control.reset()
    key = find(provider).virtual_key(sandbox.url(provider))
    shown = checked(tmp_path, {"lane": key}, "--live", "--strict")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  lane  usable: " in shown.stdout
    calls = [each["op"] for each in sandbox.control.requests() if "token" not in each["op"]]
    assert 0 < len(calls) == len({call.partition(".")[0] for call in calls}) <= 2, "one call to jobs, and to a bucket"
    assert not {find(provider).create, find(provider).cancel} & {*calls}, "which makes nothing"
    assert not (tmp_path / "data").exists()


def test_one_that_does_not_is_named_with_what_to_mend(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    wrong = wrong_keys(sandbox)
    keys = {slug: key for slug, (key, _) in wrong.items()}
    keys |= {"lane": find("openai").virtual_key(sandbox.url("openai"))}
    keys |= {"off": {"provider": "openai", "api_key": "os.environ/NOT_SET_ANYWHERE"}}
    shown = checked(tmp_path, keys, "--live", "--strict", "--json")
    assert (shown.returncode, shown.stderr) == (1, "")
    told = json.loads(shown.stdout)
    found = {each["virtual_key"]: each for each in told["virtual_keys"]}
    assert told["ok"] is False
    assert found["lane"] == {
        "virtual_key": "lane",
        "provider": "openai",
        "enabled": True,
        "usable": True,
        "reason": None,
    }
    assert found["off"]["enabled"] is False
    assert "NOT_SET_ANYWHERE" in found["off"]["reason"]
    for slug, (_, says) in wrong.items():
        assert found[slug]["usable"] is False
        assert says in found[slug]["reason"], slug
    assert WRONG not in shown.stdout
    assert checked(tmp_path, keys, "--live").returncode == 0, "without --strict it only tells"


def test_a_wrong_key_is_told_as_one_whatever_the_status(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    keys = {provider: find(provider).virtual_key(sandbox.url(provider), WRONG) for provider in names()}
    told = json.loads(checked(tmp_path, keys, "--live", "--json").stdout)
    for each in told["virtual_keys"]:
        assert each["usable"] is False, each
        assert "refuses the key (HTTP 4" in each["reason"] or "no token from" in each["reason"], each


def test_an_account_whose_proof_cannot_be_had_says_what_to_do(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    provider, role = "claude-platform-aws", "arn:aws:iam::111122223333:role/Nobody"
    url, place = sandbox.url(provider), {"anthropic_aws_workspace_id": "wrkspc_sandbox"}
    lane = {"provider": provider, "custom_host": url, "aws_sts_endpoint_url": f"{url}/sts", **place}
    keys = {
        "role": {**lane, **access_key(DEFAULT_KEY), "aws_role_arn": role},
        "wrong": {**lane, **access_key(DEFAULT_KEY), "aws_secret_access_key": "wrong", "aws_role_arn": role},
        "nobody": {**lane, "aws_ec2_metadata_url": "http://127.0.0.1:9", "aws_auth_type": "instance"},
    }
    told = json.loads(checked(tmp_path, keys, "--live", "--json").stdout)
    said = {each["virtual_key"]: each["reason"] for each in told["virtual_keys"]}
    assert "trust policy of aws_role_arn" in said["role"]
    assert "check aws_secret_access_key" in said["wrong"]
    assert "set aws_access_key_id, or give it a role" in said["nobody"]


def test_a_config_that_cannot_be_read_is_told_as_json(tmp_path: Path) -> None:
    shown = checked(tmp_path, {"lane": {"provider": "opnai", "api_key": WRONG}}, "--json")
    assert (shown.returncode, shown.stderr) == (1, "")
    told = json.loads(shown.stdout)
    assert told["ok"] is False
    assert "Did you mean 'openai'?" in told["errors"][0]
    assert WRONG not in shown.stdout


def test_without_live_nothing_is_called(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        key = find("openai").virtual_key(f"http://127.0.0.1:{port}/v1")
        assert checked(tmp_path, {"lane": key}, "--strict").returncode == 0
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("status", "usable"), [(429, True), (500, False), (503, False), (403, False), (404, False), (200, False)]
)
def test_what_each_answer_means(tmp_path: Path, sandbox: Sandbox, status: int, usable: bool) -> None:
    sandbox.control.reset()
    fault = {"kind": "truncate", "bytes": 4} if status == 200 else {"kind": "status", "status": status}
    sandbox.control.faults([{"on": "*", "times": None, **fault}])
    key = find("openai").virtual_key(sandbox.url("openai"))
    told = json.loads(checked(tmp_path, {"lane": key}, "--live", "--json").stdout)
    assert told["virtual_keys"][0]["usable"] is usable, told
    sandbox.control.reset()


def test_what_is_wrong_in_a_cloud_is_told_with_what_to_mend(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.control.reset()

    def lane(provider: str, **changes: Any) -> dict[str, Any]:
        return find(provider).virtual_key(sandbox.url(provider)) | changes

    signed = lane("claude-platform-aws", **access_key(DEFAULT_KEY))
    del signed["api_key"]
    wrong = {
        "bearer": (lane("bedrock", api_key=WRONG), "No such key."),
        "owner": (lane("bedrock", aws_s3_bucket_owner="999900001111"), "aws_s3_bucket_owner must be the bucket's"),
        "secret": ({**signed, "aws_secret_access_key": "wrong"}, "check aws_secret_access_key"),
        "region": ({**signed, "aws_region": "eu-west-1"}, "check the region"),
        "bucket": (lane("vertex-ai", vertex_storage_bucket_name="nobodys"), "the account sees no bucket nobodys"),
        "project": (lane("vertex-ai", vertex_project_id="other"), "the project. The account needs the role"),
    }
    told = json.loads(checked(tmp_path, {slug: key for slug, (key, _) in wrong.items()}, "--live", "--json").stdout)
    said = {each["virtual_key"]: each["reason"] for each in told["virtual_keys"]}
    for slug, (_, words) in wrong.items():
        assert words in said[slug], slug
    assert "aws_access_key_id" not in said["bearer"], "which it has not"
    assert "no batch API" not in said["bucket"], "the service is there"
