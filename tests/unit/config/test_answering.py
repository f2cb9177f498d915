"""What `check` says of chat and the like."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.config import parse
from proxy_plugin.config.answering import described
from proxy_plugin.providers.direct import litellm_providers

KEYS: dict[str, Any] = {
    "open": {"provider": "openai", "api_key": "k"},
    "claude": {"provider": "anthropic", "api_key": "k"},
    "never": {"provider": "openai", "api_key": "k", "direct_calls": "never"},
}


@pytest.mark.parametrize(
    ("there", "sections", "said"),
    [
        (True, {}, "by 2 of 3 virtual keys, because never says direct_calls: never"),
        (
            False,
            {},
            (
                "by 1 of 3 virtual keys, because anthropic: litellm, or what it needs here, is not installed: pip"
                " install 'proxy-plugin[litellm]'; never says direct_calls: never"
            ),
        ),
        (
            True,
            {"server": {"upstream": "http://127.0.0.1:1"}},
            (
                "chat and the like by the upstream; where headers name a virtual key, by 2 of 3, because never says"
                " direct_calls: never"
            ),
        ),
        (
            True,
            {"server": {"upstream": "http://127.0.0.1:1"}, "alone": {"enabled": False}},
            "chat and the like by the upstream",
        ),
        (True, {"alone": {"enabled": False}}, "none but files and batches (alone.enabled: false)"),
    ],
)
def test_who_answers_is_told(monkeypatch: pytest.MonkeyPatch, there: bool, sections: dict[str, Any], said: str) -> None:
    monkeypatch.setattr(litellm_providers, "installed", lambda _="": there)
    config = parse({"proxy_plugin": {"virtual_keys": KEYS} | sections}, {})
    assert described(config).endswith(said)
