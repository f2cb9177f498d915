"""What the top of a config says of the whole batch, targets in order, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.config import parse
from proxy_plugin.config.check import described, render_check
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.routing.config_text import Invalid
from proxy_plugin.routing.config_tree import WholeBatch
from proxy_plugin.routing.portkey_config import read
from proxy_plugin.routing.route import Cache, Rescue


def in_order(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback", **more}, "targets": list(targets)}


def problems(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(config)
    return dict(caught.value.problems)


@pytest.mark.parametrize(
    ("config", "whole"),
    [
        ({}, WholeBatch()),
        ({"rescue": None, "cache": None, "fan_out": None}, WholeBatch()),
        ({"rescue": False, "cache": {}, "fan_out": False}, WholeBatch()),
        ({"rescue": {}}, WholeBatch(Rescue())),
        ({"rescue": {"attempts": 3}}, WholeBatch(Rescue(3))),
        ({"rescue": {"direct_before": 90}}, WholeBatch(Rescue(None, 90.0))),
        ({"rescue": {"direct_before": "90m"}}, WholeBatch(Rescue(None, 5_400.0))),
        ({"rescue": {"direct_before": "1.5h"}}, WholeBatch(Rescue(None, 5_400.0))),
        ({"rescue": {"direct_before": "30s"}}, WholeBatch(Rescue(None, 30.0))),
        ({"rescue": {"on_status_codes": [429, 500, 429]}}, WholeBatch(Rescue(None, None, (429, 500)))),
        ({"cache": {"mode": "simple"}}, WholeBatch(None, Cache())),
        ({"cache": "simple"}, WholeBatch(None, Cache())),
        ({"cache": {"mode": "simple", "max_age": 3600}}, WholeBatch(None, Cache(3_600.0))),
        ({"fan_out": True}, WholeBatch(None, None, True)),
    ],
)
def test_the_top_speaks_for_the_whole_batch(config: dict[str, Any], whole: WholeBatch) -> None:
    assert read(config | {"virtual_key": "a"}).whole == whole


def test_targets_in_order_nest_with_the_other_modes() -> None:
    shared = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "a"}, {"virtual_key": "b"}]}
    node = read(in_order(shared, in_order({"virtual_key": "c"}, {"virtual_key": "d"}), on_status_codes=[429]))
    assert (node.mode, node.codes, [child.codes for child in node.children]) == ("fallback", (429,), [(), ()])
    assert [target.settings.account for target in node.targets()] == [("a",), ("b",), ("c",), ("d",)]
    inner = read({"strategy": {"mode": "loadbalance"}, "targets": [in_order({}, {}, on_status_codes=[500])]}).children
    assert inner[0].codes == (500,)


def test_direct_is_inherited_until_a_child_sets_its_own() -> None:
    node = read(in_order({}, {"direct": False}, {"direct": "always"}) | {"direct": True})
    assert [target.settings.direct for target in node.targets()] == ["allowed", "never", "always"]
    assert read({"virtual_key": "a"}).settings.direct is None


@pytest.mark.parametrize(
    ("config", "path", "what"),
    [
        (in_order({}, {}, on_status_codes=[]), "strategy.on_status_codes", "at least one"),
        (in_order({}, {}, on_status_codes=429), "strategy.on_status_codes", "must be a list"),
        (in_order({}, {}, on_status_codes=[429, 99]), "strategy.on_status_codes.1", "from 100 to 599"),
        (in_order({}, {}, on_status_codes=[600]), "strategy.on_status_codes.0", "from 100 to 599"),
        (in_order({}, {}, on_status_codes=["429"]), "strategy.on_status_codes.0", "a whole number"),
        (in_order({}, {}, on_status_codes=[True]), "strategy.on_status_codes.0", "a whole number"),
        (in_order(in_order({}, {}, on_status_codes=[1])), "targets.0.strategy.on_status_codes.0", "a whole number"),
        (in_order({}, {}, on_status_code=[429]), "strategy.on_status_code", "did you mean on_status_codes?"),
        (in_order({"rescue": {}, "virtual_key": "a"}, {"rescue": {"attempts": 1}}), "targets.1.rescue", "at the top"),
        (in_order({"cache": {"mode": "simple"}}), "targets.0.cache", "set it at the top of the config"),
        (in_order(in_order({"fan_out": True})), "targets.0.targets.0.fan_out", "one for the whole batch"),
        ({"rescue": True}, "rescue", "must be an object of attempts"),
        ({"rescue": {"atempts": 1}}, "rescue.atempts", "did you mean attempts?"),
        ({"rescue": {"x": 1}}, "rescue.x", "it has attempts, direct_before, on_status_codes"),
        ({"rescue": {"attempts": 0}}, "rescue.attempts", "from 1 to 64"),
        ({"rescue": {"attempts": True}}, "rescue.attempts", "a whole number"),
        ({"rescue": {"attempts": 1.5}}, "rescue.attempts", "a whole number"),
        ({"rescue": {"direct_before": "soon"}}, "rescue.direct_before", "'90m'"),
        ({"rescue": {"direct_before": "5d"}}, "rescue.direct_before", "'2h'"),
        ({"rescue": {"direct_before": 0}}, "rescue.direct_before", "above 0"),
        ({"rescue": {"direct_before": True}}, "rescue.direct_before", "above 0"),
        ({"rescue": {"direct_before": 10**400}}, "rescue.direct_before", "seconds"),
        ({"rescue": {"direct_before": "999999999h"}}, "rescue.direct_before", "seconds"),
        ({"rescue": {"on_status_codes": [0]}}, "rescue.on_status_codes.0", "HTTP status"),
        ({"attempts": 3}, "attempts", "belongs into 'rescue'"),
        ({"rescu": {}}, "rescu", "did you mean rescue?"),
        ({"cache": {"mode": "semantic"}}, "cache.mode", "semantic is not served"),
        ({"cache": {"mode": "semantic"}}, "cache.mode", "Write simple"),
        ({"cache": {"mode": "off"}}, "cache.mode", "must be simple"),
        ({"cache": {"max_age": 60}}, "cache.mode", "must be simple"),
        ({"cache": {"mode": "simple", "max_age": 0}}, "cache.max_age", "above 0"),
        ({"cache": {"mode": "simple", "max_age": "60"}}, "cache.max_age", "a number of seconds"),
        ({"cache": {"mode": "simple", "maxage": 60}}, "cache.maxage", "did you mean max_age?"),
        ({"cache": 5}, "cache", "must be an object"),
        ({"fan_out": 1}, "fan_out", "true or false"),
        ({"fanout": True}, "fanout", "did you mean fan_out?"),
        ({"direct": "sometimes"}, "direct", "'always'"),
        ({"direct": 1}, "direct", "must be false, true"),
        ({"fallbacks": ["a"]}, "fallbacks", "'mode': 'fallback'"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(config: dict[str, Any], path: str, what: str) -> None:
    assert what in problems(config)[path]


def test_a_check_tells_the_targets_in_their_order() -> None:
    last = {"virtual_key": "b", "override_params": {"model": "m"}, "direct": True}
    config = in_order({"virtual_key": "a"}, last, on_status_codes=[429, 500])
    assert described(config) == "@a, after 429 500: @b as m (direct calls allowed)"
    assert described(in_order({"virtual_key": "a"}, {}) | {"rescue": {"attempts": 2, "direct_before": "1h"}}) == (
        "@a, else the account that headers or lines name; failed lines are asked again at most 2 time(s);"
        " ordinary calls from 3600 s before the end of the window"
    )
    assert described({"virtual_key": "a", "rescue": {}, "cache": "simple", "fan_out": True}) == (
        "@a; failed lines are asked again as often as there are targets; answers are kept;"
        " lines that want several answers are fanned out"
    )


def test_a_virtual_key_says_whether_it_may_be_called() -> None:
    key = {"provider": "openai", "api_key": "sk-of-the-operator"}
    saved = {"pc-a": in_order({"virtual_key": "a"}, {"virtual_key": "b"}) | {"rescue": {"attempts": 1}}}
    keys = {"a": key | {"direct_calls": "always"}, "b": key}
    shown = render_check(parse({"proxy_plugin": {"virtual_keys": keys, "configs": saved}}, {}))
    assert "; direct_calls always" in shown
    assert "  pc-a  @a, else @b; failed lines are asked again at most 1 time(s)" in shown
    with pytest.raises(ConfigError, match=r"virtual_keys\.a\.direct_calls"):
        parse({"proxy_plugin": {"virtual_keys": {"a": key | {"direct_calls": "sometimes"}}}}, {})
    saved["pc-a"]["rescue"] = {"attempts": 0}
    with pytest.raises(ConfigError, match=r"configs\.pc-a\.rescue\.attempts: must be a whole number from 1 to 64"):
        parse(
            {"proxy_plugin": {"virtual_keys": keys, "configs": {"pc-a": saved["pc-a"] | {"rescue": {"attempts": 0}}}}},
            {},
        )
