"""A configuration that changes while the gateway runs: what counts at once, what is refused, and what batches keep."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_plugin.config import Config, load, parse
from proxy_plugin.config.apart import read_apart
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.reload import Reload
from tests.support.served import FORM, FORM_TYPE, WANTED, WHO, Served, configuration, running, stored
from tests.support.waiting import eventually
from tests.support.wire import Log

LANE = {"provider": "openai", "api_key": "sk-another-key", "custom_host": "http://127.0.0.1:9/v1"}
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x","messages":[]}}'


@dataclass
class Reloaded:
    """A gateway, what its file says, and how it is read again."""

    served: Served
    said: dict[str, Any]
    reload: Reload
    learnt: list[Config]

    @property
    def ours(self) -> dict[str, Any]:
        found = self.said["proxy_plugin"]
        assert isinstance(found, dict)
        return found

    async def batch(self, **headers: str) -> tuple[int, dict[str, Any]]:
        """Create a batch on the virtual key `lane`."""
        _, file, _ = await self.served.call("POST", "/v1/files", FORM % LINE, {**WHO, **FORM_TYPE})
        wanted = WANTED | {"input_file_id": file["id"]}
        status, found, _ = await self.served.call(
            "POST", "/v1/batches", wanted, WHO | {"x-portkey-virtual-key": "lane"} | headers
        )
        return status, found


@asynccontextmanager
async def reloading(tmp_path: Path, host: str = "127.0.0.1") -> AsyncIterator[Reloaded]:
    async with running(tmp_path) as served:
        said, learnt = copy.deepcopy(configuration(tmp_path)), list[Config]()

        async def read() -> Config:
            return parse(said, {})

        yield Reloaded(served, said, Reload(served.gateway, read, host, learnt.append), learnt)


async def test_keys_virtual_keys_models_and_configs_count_at_once(tmp_path: Path, log: Log) -> None:
    async with reloading(tmp_path) as it:
        it.ours["api_keys"] = [
            {"name": "new", "key": "a-new-key", "workspace": "one", "default": "pc-new"},
            it.ours["api_keys"][1],
        ]
        it.ours["virtual_keys"]["second"] = LANE | {"models": ["gpt-listed"]}
        it.ours["configs"] = {"pc-new": {"virtual_key": "second"}}
        it.said["model_list"] = [{"model_name": "fast", "litellm_params": {"model": "openai/x", "api_key": "sk-x"}}]
        assert await it.reload.again()
        assert (await it.served.call("GET", "/v1/batches", headers=WHO))[0] == 401
        mine = {"x-portkey-api-key": "a-new-key"}
        listed = (await it.served.call("GET", "/v1/models", headers=mine))[1]["data"]
        assert [each["id"] for each in listed] == ["@second/gpt-listed", "fast"]
        for asked in ({"x-portkey-config": "pc-new"}, {"x-portkey-virtual-key": "second"}):
            _, found, _ = await it.served.call("POST", "/v1/batches", WANTED, {**mine, **asked})
            assert found["error"]["param"] == "input_file_id", "the account is known, the file is not"
        assert [each.api_keys[0].name for each in it.learnt] == ["new"]
    [line] = log.lines("reloaded")
    assert (line["virtual_keys"], line["api_keys"], line["later"]) == (3, 2, [])


async def test_what_cannot_change_while_the_gateway_runs_counts_later(tmp_path: Path, log: Log) -> None:
    async with reloading(tmp_path) as it:
        before = it.served.gateway.config
        it.ours["limits"] = {"max_lines": 3}
        it.ours["storage"] = {"data_dir": str(tmp_path / "elsewhere")}
        it.ours["api_keys"] = it.ours["api_keys"][:1]
        assert await it.reload.again()
        assert (it.served.gateway.config.limits, it.served.gateway.data_dir) == (before.limits, tmp_path)
    assert log.lines("reloaded")[0]["later"] == ["storage", "limits", "shares of workspaces"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"virtual_keys": {"lane": LANE | {"api_kye": "x"}}},
            "proxy_plugin.virtual_keys.lane.api_kye: unknown setting",
        ),
        ({"api_keys": [{"name": "x", "key": "os.environ/GONE"}]}, "proxy_plugin.api_keys.0.key: environment variable"),
        ({"api_keys": []}, "proxy_plugin.api_keys: no key is configured, so 0.0.0.0 cannot be served"),
    ],
)
async def test_a_broken_file_is_refused_and_the_one_before_kept(
    tmp_path: Path, log: Log, change: dict[str, Any], problem: str
) -> None:
    async with reloading(tmp_path, "0.0.0.0") as it:
        before = it.served.gateway.config
        it.said["proxy_plugin"] = it.ours | change
        assert not await it.reload.again()
        assert it.served.gateway.config is before
        assert (await it.served.call("GET", "/v1/batches", headers=WHO))[0] == 200
    [line] = log.lines("reload_refused")
    assert line["problems"][0].startswith(problem)
    assert it.learnt == []


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_virtual_key_that_a_batch_needs_is_not_taken_away(tmp_path: Path, log: Log, disabled: bool) -> None:
    async with reloading(tmp_path) as it:
        status, batch = await it.batch()
        assert status == 200
        lane = it.ours["virtual_keys"].pop("lane")
        if disabled:
            it.ours["virtual_keys"]["lane"] = lane | {"api_key": "os.environ/NOT_THERE"}
        before = it.served.gateway.config
        for _ in range(2):  # before it is split, and, most likely, behind it
            assert not await it.reload.again()
            assert it.served.gateway.config is before
            await eventually(lambda: log.lines("waiting"))
        why = "is disabled (environment variable NOT_THERE is not set)" if disabled else "is gone"
        what_to_do = "and a batch that runs needs it; keep it, with retired: true if it is to take no new work"
        assert log.lines("reload_refused")[0]["problems"] == [f"proxy_plugin.virtual_keys.lane: {why}, {what_to_do}"]
        it.ours["virtual_keys"]["lane"] = lane | {"retired": True}
        assert await it.reload.again()
        status, found = await it.batch()
        assert (status, found["error"]["code"]) == (400, "virtual_key_retired")
        row = await stored(it.served, batch["id"])
        assert row.state in {"validating", "splitting", "running"}
        assert '"slug":"lane"' in row.route


async def test_a_virtual_key_goes_when_its_batches_have_ended(tmp_path: Path) -> None:
    async with reloading(tmp_path) as it:
        _, batch = await it.batch()
        del it.ours["virtual_keys"]["lane"]
        assert not await it.reload.again()
        await it.served.call("POST", f"/v1/batches/{batch['id']}/cancel", {}, WHO)

        async def ended() -> bool:
            return (await stored(it.served, batch["id"])).state == "cancelled"

        async with asyncio.timeout(60):
            while not await ended():
                await asyncio.sleep(0.02)
        assert await it.reload.again()
        assert dict(it.served.gateway.config.virtual_keys) == {}


async def test_a_changed_file_is_read_again_and_one_that_it_includes(tmp_path: Path, log: Log) -> None:
    said = configuration(tmp_path)
    path, included = tmp_path / "config.yaml", tmp_path / "keys.yaml"
    path.write_text(yaml.safe_dump(said | {"include": ["keys.yaml"]}))
    included.write_text("model_list: []\n")
    async with running(tmp_path) as served:
        gateway = served.gateway
        gateway.learn(load(path, {}))

        async def read() -> Config:
            return load(path, {})

        reload = Reload(gateway, read, "127.0.0.1")
        watching = asyncio.create_task(reload.watch(0.02))
        try:
            entry = {"model_name": "fast", "litellm_params": {"model": "openai/x", "api_key": "sk-x"}}

            def change(file: Path, content: object) -> None:
                file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
                stat = file.stat()
                os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))  # whatever the file system's grain is

            await asyncio.sleep(0)
            await eventually(lambda: reload.looked)
            change(included, {"model_list": [entry]})
            await eventually(lambda: [each.name for each in gateway.config.models] == ["fast"])
            change(path, "proxy_plugin: [")
            await eventually(lambda: log.lines("reload_refused"))
            assert [each.name for each in gateway.config.models] == ["fast"]
            change(path, said)
            await eventually(lambda: not gateway.config.models)
            assert {each.name for each in gateway.config.files} == {"config.yaml"}
            reload.asked.set()
            await eventually(lambda: len(log.lines("reloaded")) >= 3)
        finally:
            watching.cancel()
            await asyncio.wait({watching})


async def test_a_file_is_read_with_the_environment_that_the_gateway_has_given_up(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"proxy_plugin": {"virtual_keys": {"a": LANE | {"api_key": "os.environ/THE_KEY"}}}}))
    environ = dict(os.environ) | {"THE_KEY": "sk-from-before"}
    config = await read_apart(path, environ)
    [key] = config.virtual_keys.values()
    assert key.credentials.model_dump()["api_key"].get_secret_value() == "sk-from-before"
    assert config.files == (path,)
    path.write_text(yaml.safe_dump({"proxy_plugin": {"sever": {}}}))
    with pytest.raises(ConfigError, match=r"^proxy_plugin\.sever: unknown setting; did you mean server\?$"):
        await read_apart(path, environ)
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file or directory$"):
        await read_apart(tmp_path / "gone.yaml", environ)
