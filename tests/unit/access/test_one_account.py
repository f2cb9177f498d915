"""The one account of a request: its config, its headers, or the default of the caller's API key."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from proxy_plugin.access import headers, one_account
from proxy_plugin.access.callers import Caller
from proxy_plugin.config import VirtualKey, parse
from proxy_plugin.ground.errors import GatewayError

OPENAI = {"provider": "openai", "api_key": "sk-of-the-operator"}
CONFIGS: dict[str, Any] = {
    "pc-one": {"virtual_key": "red"},
    "pc-same": {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "red"}, {"virtual_key": "red"}]},
    "pc-two": {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "red"}, {"virtual_key": "green"}]},
    "pc-none": {"override_params": {"model": "gpt-4o"}},
}
CONFIG = parse({"proxy_plugin": {"virtual_keys": {"red": OPENAI, "green": OPENAI}, "configs": CONFIGS}}, {})


@pytest.mark.parametrize(
    ("default", "sent", "slug"),
    [
        (None, {}, None),
        ("red", {}, "red"),
        ("pc-one", {}, "red"),
        ("pc-same", {}, "red"),
        ("pc-two", {}, None),
        ("pc-none", {}, None),
        ("red", {"x-portkey-virtual-key": "green"}, "green"),
        ("red", {"x-portkey-provider": "@green"}, "green"),
        ("red", {"x-portkey-provider": ""}, "red"),
        ("red", {"x-portkey-config": '{"virtual_key":"green"}'}, "green"),
        ("red", {"x-portkey-config": '{"retry":{"attempts":2}}'}, None),
    ],
)
def test_a_default_stands_in_where_nothing_is_named(
    default: str | None, sent: dict[str, str], slug: str | None
) -> None:
    caller = Caller("dev", "default", default=default)
    found = one_account.named(CONFIG, headers.read(CIMultiDict(sent)), caller)
    assert (found.slug if isinstance(found, VirtualKey) else found) == slug


def test_a_default_is_no_way_around_what_the_caller_may_use() -> None:
    caller = Caller("dev", "default", virtual_keys=("green",), default="red")
    with pytest.raises(GatewayError, match="may not use"):
        one_account.named(CONFIG, headers.read(CIMultiDict()), caller)
