"""The gateway inside an aiohttp application: whose request is whose, start and stop, and what operators see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from proxy_plugin import setup
from proxy_plugin.clock import SystemClock
from proxy_plugin.config import load, parse
from proxy_plugin.errors import ConfigError
from proxy_plugin.gateway import Gateway
from proxy_plugin.serve import serve
from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew
from proxy_plugin.storage.registry import connect
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow

KEY, OTHER_KEY = "key-of-the-first-workspace", "key-of-the-second-workspace"
WHO = {"x-portkey-api-key": KEY}
TARGET = WHO | {"x-portkey-virtual-key": "lane"}
BATCH_ID = "batch_0123456789abcdef"
FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n%b\r\n--edge--\r\n'
)
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=edge"}


def configuration(data_dir: Path, model_list: Sequence[object] = (), **sections: Any) -> dict[str, Any]:
    """Return a configuration with two workspaces and one virtual key that leads nowhere."""
    ours = {
        "storage": {"data_dir": str(data_dir)},
        "api_keys": [
            {"name": "first", "key": KEY, "workspace": "one"},
            {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["none*"]},
        ],
        "virtual_keys": {
            "lane": {"provider": "openai", "api_key": "sk-sandbox-key", "custom_host": "http://127.0.0.1:9/v1"}
        },
        "limits": {"disk_reserve_bytes": 0},
    }
    return {"model_list": list(model_list), "proxy_plugin": ours | sections}


@dataclass
class Served:
    """A gateway in this process that answers on a loopback port."""

    gateway: Gateway
    port: int
    clock: SystemClock
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = TARGET
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Make one call and return (status, decoded JSON, headers)."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def put_file(self, file_id: str = "file-1", **columns: Any) -> str:
        """Put a file row there whose scan is never due, so that a batch of it stays `validating`."""
        values: dict[str, Any] = {
            "workspace": "one",
            "purpose": "batch",
            "filename": "in.jsonl",
            "bytes": 3,
            "sha256": "",
            "created_at": int(self.clock.now()),
            "expires_at": None,
            "state": "uploaded",
        }
        row = FileRow(id=file_id, **(values | columns))
        await self.gateway.registry.write(lambda conn: files.insert(conn, row))
        return file_id

    async def put_batch(self, batch_id: str = BATCH_ID, **columns: Any) -> BatchRow:
        """Put a batch row there that the engine leaves alone."""
        values: dict[str, Any] = {
            "workspace": "one",
            "caller": "first",
            "input_file_id": "file-1",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "route": "{}",
            "request_hash": batch_id,
            "trace_id": "t",
            "state": "running",
            "created_at": 1_700_000_000,
            "expires_at": 1_700_086_400,
        }
        row = BatchRow(id=batch_id, **(values | columns))
        return await self.gateway.registry.write(lambda conn: batches.insert(conn, row, is_retry=False))

    async def put_part(self, batch_id: str, **columns: Any) -> None:
        """Put a part there that the engine leaves alone."""
        values: dict[str, Any] = {
            "slug": "lane",
            "provider": "openai",
            "endpoint": "/v1/chat/completions",
            "model": None,
            "partition_key": "",
            "lines": 1,
            "bytes": 1,
            "sha256": "",
            "mark": "mark",
            "file": "parts/0",
        }
        row = PartRow(batch_id=batch_id, n=0, **(values | columns))
        await self.gateway.registry.write(lambda conn: parts.insert(conn, row))


@asynccontextmanager
async def running(
    data_dir: Path, app: web.Application | None = None, *, cancelling: bool = False, **sections: Any
) -> AsyncIterator[Served]:
    """Run the gateway in an application, which may have handlers of its own, and may cancel them when clients leave."""
    app, clock = app or web.Application(), SystemClock()
    gateway = setup(app, configuration(data_dir, **sections), clock=clock)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, handler_cancellation=cancelling)
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session:
            yield Served(gateway, site.port, clock, session)
    finally:
        await runner.cleanup()


async def test_a_configuration_may_be_a_mapping_a_path_a_text_or_an_object(tmp_path: Path) -> None:
    mapping = configuration(tmp_path / "data")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(mapping))
    for given in (mapping, path, str(path), load(path), parse(mapping, {})):
        gateway = setup(web.Application(), given)
        assert set(gateway.config.virtual_keys) == {"lane"}


async def test_both_roots_serve_the_same_things(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.put_file()
        await served.put_batch()
        for root in ("", "/v1"):
            status, batch, _ = await served.call("GET", f"{root}/batches/{BATCH_ID}")
            assert (status, batch["id"]) == (200, BATCH_ID)
            status, file, _ = await served.call("GET", f"{root}/files/file-1")
            assert (status, file["id"]) == (200, "file-1")


async def _show(request: web.Request) -> web.Response:
    return web.json_response(
        {"path": request.path, "headers": dict(request.headers), "body": (await request.read()).decode()}
    )


async def test_other_requests_reach_the_application_without_our_key(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", _show)  # older than our routes, and wider
    async with running(tmp_path, app) as served:
        headers = {"Authorization": f"Bearer {KEY}", "X-Own": "kept"}
        status, seen, _ = await served.call("POST", "/v1/chat/completions", b"hello", headers)
        assert (status, seen["path"], seen["body"]) == (200, "/v1/chat/completions", "hello")
        assert "Authorization" not in seen["headers"]
        assert seen["headers"]["X-Own"] == "kept"
        assert (await served.call("GET", "/v1/batches"))[1]["object"] == "list"


async def test_a_foreign_credential_reaches_the_application_untouched(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", _show)
    async with running(tmp_path, app) as served:
        headers = {"Authorization": "Bearer sk-of-the-application", "x-api-key": "another"}
        _, seen, _ = await served.call("GET", "/v1/moderations", headers=headers)
        assert seen["headers"]["Authorization"] == "Bearer sk-of-the-application"
        assert seen["headers"]["x-api-key"] == "another"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-portkey-api-key": "wrong", "Authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY},
        {"Authorization": KEY},
        {"x-portkey-api-key": OTHER_KEY, "api-key": KEY},
    ],
)
async def test_our_key_never_reaches_the_application_in_whatever_header(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    app = web.Application()
    app.router.add_get("/own", _show)
    async with running(tmp_path, app) as served:
        _, seen, _ = await served.call("GET", "/own", headers=headers)
        assert KEY not in json.dumps(seen)
        assert OTHER_KEY not in json.dumps(seen)


async def test_an_application_that_serves_our_paths_already_is_refused(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/v1/batches/{id}", _show)
    with pytest.raises(ConfigError, match="/v1/batches"):
        setup(app, configuration(tmp_path))


async def test_the_applications_own_health_route_stays(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/healthz", _show)
    async with running(tmp_path, app) as served:
        assert (await served.call("GET", "/healthz"))[1]["path"] == "/healthz"
        assert (await served.call("GET", "/readyz"))[1] == {"status": "ready"}


async def test_one_data_dir_has_one_gateway_at_a_time(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(DataDirBusy, match="in use by another gateway"):
            async with running(tmp_path):
                pass
    async with running(tmp_path) as served:
        assert (await served.call("GET", "/readyz"))[0] == 200


async def test_a_start_that_fails_half_way_lets_the_next_one_in(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    database = connect(tmp_path / "registry.sqlite3")
    database.execute("INSERT INTO schema_version (version) VALUES (999)")
    with pytest.raises(SchemaTooNew):
        async with running(tmp_path):
            pass
    database.execute("DELETE FROM schema_version WHERE version = 999")
    database.close()
    async with running(tmp_path) as served:
        assert (await served.call("GET", "/readyz"))[0] == 200


async def test_the_start_removes_bytes_that_no_file_names(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.put_file("file-kept")
        kept, orphan = served.gateway.blobs.path("file-kept"), served.gateway.blobs.path("file-orphan")
        for path in (kept, orphan):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"{}\n")
    async with running(tmp_path):
        assert kept.exists()
        assert not orphan.exists()


async def test_the_applications_body_limit_is_not_ours(tmp_path: Path) -> None:
    async with running(tmp_path, web.Application(client_max_size=100)) as served:
        line = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}\n'
        status, file, _ = await served.call("POST", "/v1/files", FORM % (line * 10), WHO | FORM_TYPE)
        assert (status, file["bytes"]) == (200, 10 * len(line))
        await served.put_file()
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "metadata": {"k": "v" * 500}}
        assert (await served.call("POST", "/v1/batches", wanted))[0] == 200


async def test_while_stopping_new_work_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.put_file()
        await served.put_batch()
        assert (await served.call("GET", "/readyz"))[:2] == (200, {"status": "ready"})
        served.gateway.traffic.stopping = True
        assert (await served.call("GET", "/readyz"))[:2] == (503, {"status": "stopping"})
        assert (await served.call("GET", "/healthz"))[0] == 200
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/embeddings"}
        for path, body, headers in (
            ("/v1/batches", json.dumps(wanted).encode(), TARGET),
            ("/files", FORM % b"{}\n", TARGET | FORM_TYPE),
        ):
            status, answer, _ = await served.call("POST", path, body, headers)
            assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert (await served.call("GET", f"/v1/batches/{BATCH_ID}"))[0] == 200
        assert (await served.call("POST", f"/v1/batches/{BATCH_ID}/cancel", {}))[0] == 200
        assert [batch["id"] for batch in (await served.call("GET", "/v1/batches"))[1]["data"]] == [BATCH_ID]


async def test_a_full_disk_makes_the_gateway_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"disk_reserve_bytes": 2**60}) as served:  # so the state does not heal
        served.gateway.registry.full = True
        assert (await served.call("GET", "/readyz"))[:2] == (503, {"status": "disk full"})
        assert (await served.call("GET", "/healthz"))[0] == 200


async def test_metrics_count_by_state_and_tell_nothing_private(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.put_file()
        await served.put_batch()
        await served.put_batch("batch_second", state="completed")
        await served.put_batch("batch_third", state="completed")
        served.gateway.traffic.uploads = 2
        async with served.session.get(served.url + "/metrics") as answer:
            text = await answer.text()
            assert answer.content_type == "text/plain"
        served.gateway.traffic.uploads = 0
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert samples['proxy_plugin_batches{state="completed"}'] == "2"
        assert samples['proxy_plugin_batches{state="running"}'] == "1"
        assert samples['proxy_plugin_batches{state="failed"}'] == "0"
        assert samples['proxy_plugin_parts{state="creating"}'] == "0"
        assert samples["proxy_plugin_uploads_running"] == "2"
        assert samples["proxy_plugin_ready"] == "1"
        assert int(samples["proxy_plugin_disk_free_bytes"]) > 0
        for private in (BATCH_ID, "batch_second", "file-1", KEY, "sk-sandbox-key", str(tmp_path)):
            assert private not in text


async def test_metrics_name_the_virtual_key_of_an_unresolved_create(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await served.put_file()
        await served.put_batch()
        await served.put_part(BATCH_ID, state="creating")
        await served.gateway.registry.write(
            lambda conn: conn.execute(
                "INSERT INTO submissions (batch_id, part, n, state, account, created_at)"
                " VALUES (?, 0, 1, 'unknown', 'a', 0)",
                (BATCH_ID,),
            )
        )
        async with served.session.get(served.url + "/metrics") as answer:
            text = await answer.text()
        assert 'proxy_plugin_unresolved_submissions{virtual_key="lane"} 1' in text
        assert 'proxy_plugin_parts{state="creating"} 1' in text


async def test_serve_refuses_other_machines_without_keys(tmp_path: Path) -> None:
    config = parse(configuration(tmp_path / "data", api_keys=[]), {})
    with pytest.raises(ConfigError, match="api_keys"):
        await serve(config, "0.0.0.0", 0)
    assert not (tmp_path / "data").exists()


async def test_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with running(tmp_path) as served:
        await served.put_file()
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/embeddings"}
        assert (await served.call("POST", "/v1/batches", wanted))[0] == 200
    assert asyncio.all_tasks() == before
