"""What of LiteLLM's file the plugin reads, and which requests are the gateway's."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_plugin.inside.settings import InsideSettings, is_page, read

OURS = [(b"host", b"x"), (b"x-portkey-virtual-key", b"openai-prod")]
THEIRS = [(b"host", b"x"), (b"authorization", b"Bearer sk-1")]
CONFIG = Path("/etc/litellm/config.yaml")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/files",
        "/v1/batches/batch_1/cancel",
        "/batches",
        "/v1/uploads/upload_1/parts",
        "/openai/v1/files/file-1/content",
        "/azure/v1/batches",
        "/v1/files/with\na line",
        "/v1/webhooks/we_1/test",
        "/v1/webhook_endpoints",
        "/v1/workspace",
        "/v1/workspace/figures",
        "/v1/operator",
    ],
)
def test_our_paths_are_taken_with_our_headers_or_always(path: str) -> None:
    assert InsideSettings(CONFIG, Path("s")).takes(path, OURS)
    assert not InsideSettings(CONFIG, Path("s")).takes(path, THEIRS)
    assert InsideSettings(CONFIG, Path("s"), all_batches=True).takes(path, THEIRS)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/models",
        "/v1/vector_stores/vs_1/files",
        "/v1/messages/batches",
        "/v1/filesystem",
        "/a/b/v1/files",
        "/v2/files",
        "/v1/workspaces",
        "/operator",
        "/ui/",
        "/batch-ui/../key/info",
        "/",
    ],
)
def test_other_paths_are_litellms(path: str) -> None:
    assert not InsideSettings(CONFIG, Path("s"), all_batches=True).takes(path, OURS)


@pytest.mark.parametrize("path", ["/batch-ui", "/batch-ui/", "/batch-ui/app.js"])
def test_the_dashboard_is_ours_whoever_asks(path: str) -> None:
    assert is_page(path)
    assert InsideSettings(CONFIG, Path("s")).takes(path, THEIRS)


def test_the_section_says_where_the_gateway_is_and_whether_it_takes_everything() -> None:
    ours = {"all_batches": True, "storage": {"data_dir": "/data"}, "server": {"upstream": None}}
    assert read({"proxy_plugin": ours}, CONFIG) == InsideSettings(CONFIG, Path("/data/gateway.sock"), all_batches=True)


def test_a_gateway_in_front_leaves_nothing_to_do_inside() -> None:
    assert read({"proxy_plugin": {"server": {"upstream": "http://127.0.0.1:4000"}}}, CONFIG).in_front


@pytest.mark.parametrize("sections", [{}, {"proxy_plugin": None}, {"proxy_plugin": {"storage": [], "server": 1}}])
def test_what_is_not_said_is_as_the_gateway_has_it(sections: dict[str, object]) -> None:
    assert read(sections, CONFIG) == InsideSettings(CONFIG, Path("var/gateway.sock").absolute())
