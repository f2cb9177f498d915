"""The gateway inside an aiohttp application: whose request is whose, start and stop, and what operators see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from proxy_plugin import setup
from proxy_plugin.config import load, parse
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.serve import serve
from proxy_plugin.storage.errors import DataDirBusy, SchemaTooNew
from proxy_plugin.storage.sqlite import connect
from tests.support.rows import BATCH_ID, put_batch, put_file, put_part
from tests.support.served import FORM, FORM_TYPE, KEY, OTHER_KEY, TARGET, WHO, configuration, running


async def test_a_configuration_may_be_a_mapping_a_path_a_text_or_an_object(tmp_path: Path) -> None:
    mapping = configuration(tmp_path / "data")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(mapping))
    for given in (mapping, path, str(path), load(path), parse(mapping, {})):
        gateway = setup(web.Application(), given)
        assert set(gateway.config.virtual_keys) == {"lane"}


async def test_both_roots_serve_the_same_things(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
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
        await put_file(served.gateway.registry, "file-kept")
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
        await put_file(served.gateway.registry)
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "metadata": {"k": "v" * 500}}
        assert (await served.call("POST", "/v1/batches", wanted))[0] == 200


async def test_while_stopping_new_work_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
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
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        await put_batch(served.gateway.registry, "batch_second", state="completed")
        await put_batch(served.gateway.registry, "batch_third", state="completed")
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


@pytest.mark.parametrize("key", [None, "key-of-the-monitoring"])
async def test_metrics_name_the_virtual_key_of_an_unresolved_create_to_who_has_their_key(
    tmp_path: Path, key: str | None
) -> None:
    async with running(tmp_path, server={"metrics_key": key}) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        await put_part(served.gateway.registry, BATCH_ID, state="creating")
        await served.gateway.registry.write(
            lambda conn: conn.execute(
                "INSERT INTO submissions (batch_id, part, n, state, account, created_at)"
                " VALUES (?, 0, 1, 'unknown', 'a', 0)",
                (BATCH_ID,),
            )
        )
        asked = {"Authorization": f"Bearer {key}"}
        async with served.session.get(served.url + "/metrics", headers=asked) as answer:
            text = await answer.text()
        labels = '{virtual_key="lane"}' if key else ""
        assert f"proxy_plugin_unresolved_submissions{labels} 1" in text
        assert f"proxy_plugin_doubled_jobs_total{labels} 0" in text
        assert ("lane" in text) is (key is not None)
        assert 'proxy_plugin_parts{state="creating"} 1' in text


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "key-of-the-monitoring"}, {"Authorization": ""}, WHO],
)
async def test_metrics_with_a_key_are_nobody_elses(tmp_path: Path, headers: dict[str, str]) -> None:
    async with running(tmp_path, server={"metrics_key": "key-of-the-monitoring"}) as served:
        async with served.session.get(served.url + "/metrics", headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (401, "invalid_request_error")
        async with served.session.get(served.url + "/healthz", headers=headers) as answer:
            assert answer.status == 200


async def test_serve_refuses_other_machines_without_keys(tmp_path: Path) -> None:
    config = parse(configuration(tmp_path / "data", api_keys=[]), {})
    with pytest.raises(ConfigError, match="api_keys"):
        await serve(config, "0.0.0.0", 0)
    assert not (tmp_path / "data").exists()


async def test_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/embeddings"}
        assert (await served.call("POST", "/v1/batches", wanted))[0] == 200
    assert asyncio.all_tasks() == before
