"""What the operator says of ordinary calls."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.config import Config, parse, render_check
from proxy_plugin.ground.errors import ConfigError


def config(limits: object = None, **engine: object) -> Config:
    key: dict[str, Any] = {"provider": "openai", "api_key": "sk-of-a-test"}
    key |= {} if limits is None else {"direct_limits": limits}
    return parse({"proxy_plugin": {"virtual_keys": {"lane": key}, "engine": engine}}, {})


def test_what_is_left_out_has_its_default() -> None:
    found = config({"requests_per_minute": 500}, direct_workers=2)
    limits = found.virtual_keys["lane"].direct_limits
    assert limits.model_dump() == {
        "concurrency": 16,
        "requests_per_minute": 500,
        "tokens_per_minute": None,
        "retries": 5,
        "timeout_seconds": 600,
    }
    assert found.engine.direct_workers == 2
    assert config().engine.direct_workers == 1


def test_check_shows_what_was_set() -> None:
    shown = render_check(config({"requests_per_minute": 500, "concurrency": 4}))
    assert "direct_limits concurrency 4, requests_per_minute 500" in shown


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ({"concurrency": 0}, "direct_limits.concurrency"),
        ({"concurrency": 1001}, "direct_limits.concurrency"),
        ({"requests_per_minute": -1}, "direct_limits.requests_per_minute"),
        ({"timeout_seconds": 0}, "direct_limits.timeout_seconds"),
        ({"retries": -1}, "direct_limits.retries"),
        ({"rpm": 5}, "direct_limits.rpm"),
    ],
)
def test_what_cannot_be_is_named_by_its_path(limits: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=rf"virtual_keys\.lane\.{where}"):
        config(limits)
