"""From headers and configs to the stored route: who wins, what is kept with a batch, and what is refused before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.config import parse
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.routing.route import (
    ByLine,
    Cache,
    Fallback,
    Rescue,
    Route,
    Rules,
    Share,
    To,
    When,
    decode_route,
)
from tests.support.rows import put_file
from tests.support.served import KEY, OTHER_KEY, WANTED, WHO, Served, count, running, stored

SECRET, OTHER_SECRET = "sk-own-5up3r-s3cr3t-key", "sk-other-5up3r-s3cr3t-key"
OPENAI = {"provider": "openai", "api_key": "sk-of-the-operator"}
KEYS: dict[str, Any] = {
    "red": OPENAI | {"models": ["gpt-*"], "max_lines_per_job": 7},
    "green": OPENAI,
    "north": {"provider": "anthropic", "api_key": "sk-of-the-operator"},
    "old": OPENAI | {"retired": True},
    "off": {"provider": "openai", "api_key": "os.environ/NOT_THERE"},
    "hidden": OPENAI,
}
CALLED = KEYS | {"firm": OPENAI | {"direct_calls": "never"}, "lent": OPENAI | {"direct_calls": "allowed"}}
CALLERS = [
    {"name": "first", "key": KEY, "workspace": "one", "virtual_keys": ["[!h]*"], "models": ["gpt-*", "fast"]},
    {"name": "second", "key": OTHER_KEY, "workspace": "one", "virtual_keys": ["none"]},
]
MODELS = [
    {"model_name": "fast", "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "sk-mini", "weight": 1}},
    {"model_name": "fast", "litellm_params": {"model": "anthropic/claude-x", "api_key": "sk-z", "weight": 3}},
    {"model_name": "hers", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-of-the-operator"}},
    {"model_name": "local", "litellm_params": {"model": "no-such-service/x"}},
]
SPLIT = {
    "strategy": {"mode": "loadbalance"},
    "targets": [
        {"virtual_key": "red", "weight": 3},
        {"virtual_key": "north", "override_params": {"model": "claude-x"}},
    ],
}


def serving(path: Path, **sections: Any) -> Any:
    given: dict[str, Any] = {"virtual_keys": KEYS, "api_keys": CALLERS, "configs": {"pc-split": SPLIT}}
    return running(path, **(given | sections))


async def create(served: Served, headers: Mapping[str, str], **fields: Any) -> tuple[Route, Mapping[str, str]]:
    """Create a batch and return its stored route and the headers of the answer."""
    status, batch, answered = await served.call("POST", "/v1/batches", WANTED | fields, WHO | dict(headers))
    assert status == 200, batch
    return decode_route((await stored(served, batch["id"])).route), answered


async def refused(served: Served, headers: Mapping[str, str], status: int = 400) -> dict[str, Any]:
    before = await count(served)
    got, answer, _ = await served.call("POST", "/v1/batches", WANTED, WHO | dict(headers))
    assert got == status, answer
    assert SECRET not in json.dumps(answer)
    assert await count(served) == before
    return dict(answer["error"])


def config(**parts: Any) -> dict[str, str]:
    return {"x-portkey-config": json.dumps(parts)}


def rules(route: Route) -> Rules:
    assert route.rules is not msgspec.UNSET
    return route.rules


def slugs(route: Route) -> list[str]:
    return [target.slug for target in route.targets]


async def test_the_strongest_wins(tmp_path: Path) -> None:
    own = {"Authorization": f"Bearer {SECRET}"}
    everything = {"x-portkey-virtual-key": "green", "x-portkey-provider": "@north/claude"}
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        for headers, expected in (
            (everything | config(virtual_key="red"), ["red"]),
            (everything | own | config(retry={"attempts": 2}), ["north"]),
            (everything, ["north"]),
            (own | {"x-portkey-virtual-key": "green", "x-portkey-provider": "openai"}, ["green"]),
        ):
            route, _ = await create(served, headers)
            assert slugs(route) == expected
            assert route.targets[0].model is None
        route, _ = await create(served, own | {"x-portkey-provider": "openai"} | config(cache={"mode": "simple"}))
        assert route.targets[0].slug.startswith("byok-")


async def test_a_target_is_stored_with_its_limits_and_what_the_config_says(tmp_path: Path) -> None:
    said = config(
        virtual_key="red",
        override_params={"model": "@green/gpt-4o", "n": 12345678901234567890123},
        default_params={"user": "é"},
        drop_params=["seed"],
        strict=True,
        on_deadline="wait",
    )
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, said)
        [target] = route.targets
        assert (target.slug, target.provider, target.model) == ("red", "openai", "gpt-4o")
        assert (target.max_lines_per_job, target.models, target.strict) == (7, ("gpt-*",), True)
        assert (route.strict, route.on_deadline, rules(route).models) == (True, "wait", ("gpt-*", "fast"))
        assert isinstance(target.changes, msgspec.Struct)
        assert {name: bytes(text) for name, text in target.changes.override.items()} == {
            "n": b"12345678901234567890123"
        }
        assert target.changes.remove == ("seed",)


async def test_shares_and_conditions_become_rules_of_what_lines_can_reach(tmp_path: Path) -> None:
    condition = {"query": {"metadata.team": "ads"}, "then": "b"}
    conditional = {
        "strategy": {"mode": "conditional", "conditions": [condition], "default": "c"},
        "targets": [
            {"name": "a", "virtual_key": "nobody"},
            {"name": "b", "virtual_key": "red"},
            {"name": "c", **SPLIT, "targets": [*SPLIT["targets"], {"virtual_key": "nobody", "weight": 0}]},
        ],
    }
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        for saved in ({"x-portkey-config": "pc-split"}, config(**SPLIT)):
            route, _ = await create(served, saved)
            assert slugs(route) == ["red", "north"]
            assert rules(route).rule == Share((3.0, 1.0), (To(0), To(1)))
        metadata = {"x-portkey-metadata": '{"team": "ads", "_user": "é", "n": 5}'}
        route, _ = await create(served, metadata | config(**conditional))
        rule = rules(route).rule
        assert isinstance(rule, When)
        assert (slugs(route), rule.default, rule.cases[0].then) == (["red", "north"], 1, 0)
        assert rules(route).metadata == {"team": "ads", "_user": "é"}
        route, _ = await create(served, metadata | config(**SPLIT))
        assert rules(route).metadata == {}, "metadata is kept where a condition looks at it"


async def test_targets_in_order_and_what_is_done_for_failed_lines_are_stored(tmp_path: Path) -> None:
    inner = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "red"}, {}]}
    said: dict[str, Any] = {
        "strategy": {"mode": "fallback", "on_status_codes": [429, 503]},
        "targets": [SPLIT, inner, {"virtual_key": "green", "direct": False}],
        "direct": True,
        "rescue": {"attempts": 2, "direct_before": "90m", "on_status_codes": [500]},
        "cache": {"mode": "simple", "max_age": 60},
        "fan_out": True,
    }
    async with serving(tmp_path, virtual_keys=CALLED) as served:
        await put_file(served.gateway.registry)
        route, answered = await create(served, config(**said))
        rule = rules(route).rule
        assert isinstance(rule, Fallback)
        assert (rule.codes, rule.rules[0]) == ((429, 503), Share((3.0, 1.0), (To(0), To(1))))
        assert rule.rules[1] == Fallback((To(0), ByLine(direct="allowed")))
        directs = {(target.slug, target.direct or None) for target in route.targets}
        assert {("red", "allowed"), ("north", "allowed"), ("green", "never")} < directs, "of the config"
        assert {("red", None), ("green", None), ("firm", "never"), ("lent", "allowed")} < directs, "of what lines name"
        assert route.rescue == Rescue(2, 5_400.0, (500,))
        assert (route.cache, route.fan_out) == (Cache(60.0), True)
        assert answered["x-portkey-last-used-option-index"] == "config"
        route, _ = await create(served, config(strategy={"mode": "fallback"}, targets=[{"virtual_key": "red"}]))
        assert (route.rules is msgspec.UNSET or rules(route).rule is None, route.rescue) == (True, msgspec.UNSET)


async def test_of_targets_in_order_those_that_take_no_new_work_are_passed_over(tmp_path: Path) -> None:
    def order(*slugs: str) -> dict[str, str]:
        return config(strategy={"mode": "fallback"}, targets=[{"virtual_key": slug} for slug in slugs])

    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, order("old", "red", "off", "green"))
        assert (slugs(route), rules(route).rule) == (["red", "green"], Fallback((To(0), To(1))))
        route, _ = await create(served, order("off", "green"))
        assert (slugs(route), rules(route).rule) == (["green"], None)
        assert "is retired" in (await refused(served, order("old", "off")))["message"]
        assert "keys are not valid: nobody" in (await refused(served, order("red", "nobody")))["message"]
        assert "may not use" in (await refused(served, order("red", "hidden"), 403))["message"]


async def test_the_nearest_word_about_direct_calls_counts(tmp_path: Path) -> None:
    async with serving(tmp_path, virtual_keys=CALLED) as served:
        await put_file(served.gateway.registry)
        for parts, expected in (
            ({"virtual_key": "green"}, None),
            ({"virtual_key": "green", "direct": True}, "allowed"),
            ({"virtual_key": "green", "direct": "always"}, "always"),
            ({"virtual_key": "lent"}, "allowed"),
            ({"virtual_key": "lent", "direct": False}, "never"),
            ({"virtual_key": "firm"}, "never"),
            ({"virtual_key": "firm", "direct": False}, "never"),
        ):
            route, _ = await create(served, config(**parts))
            assert (route.targets[0].direct or None) == expected, parts
        error = await refused(served, config(virtual_key="firm", direct=True))
        assert "virtual key firm, which makes none (direct_calls: never)" in error["message"]


@pytest.mark.parametrize("text", ['\'{"team": "ads"}\'', "{", "[]", "5", '{"team": 5}', "null", ""])
async def test_metadata_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    said = config(
        strategy={"mode": "conditional", "conditions": [{"query": {"metadata.team": "x"}, "then": "a"}]},
        targets=[{"name": "a", "virtual_key": "red"}],
    )
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, said | {"x-portkey-metadata": text})
        assert rules(route).metadata == {}


async def test_where_lines_decide_the_route_holds_what_this_caller_can_name(tmp_path: Path) -> None:
    async with serving(tmp_path, model_list=MODELS) as served:
        await put_file(served.gateway.registry)
        route, answered = await create(served, {})
        found = rules(route)
        assert found.rule == ByLine()
        assert found.names is not None
        assert found.names.slugs.keys() == {"red", "green", "north", "model-fast", "model-hers"} | {
            slug for slug in slugs(route) if slug.startswith("model-fast-")
        }
        assert found.names.closed == {"old": "virtual_key_retired", "off": "virtual_key_disabled"}
        fast, hers, local = (found.names.models[name] for name in ("fast", "hers", "local"))
        assert [(slugs(route)[each.target], each.model, each.weight) for each in fast.options] == [
            ("model-fast", "gpt-4o-mini", 1.0),
            (slugs(route)[fast.options[1].target], "claude-x", 3.0),
        ]
        assert [option.model for option in hers.options] == ["gpt-4o"]
        assert (local.closed, local.provider) == ("no_batch_lane", "no-such-service")
        assert "hidden" not in json.dumps(slugs(route))
        assert "x-portkey-provider" not in answered


async def test_a_caller_that_may_name_nothing_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        error = await refused(served, {"x-portkey-api-key": OTHER_KEY})
        assert "x-portkey-provider: @slug" in error["message"]
    async with serving(tmp_path / "names", model_list=MODELS) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {"x-portkey-api-key": OTHER_KEY})
        names = rules(route).names
        assert names is not None
        assert {name: each.closed for name, each in names.models.items()} == {
            "fast": "model_not_allowed",
            "hers": "model_not_allowed",
            "local": "no_batch_lane",
        }


async def test_a_config_without_an_account_applies_to_what_lines_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, config(drop_params=True, strict=True, default_params={"n": 1}))
        rule = rules(route).rule
        assert isinstance(rule, ByLine)
        assert (rule.drop_params, rule.strict, list(rule.changes.default)) == (True, True, ["n"])
        assert route.strict
        assert not route.fetches_media
        route, _ = await create(served, config(fetch_media=True))
        assert route.fetches_media
        assert not any(target.fetch_media is True for target in route.targets)
        route, _ = await create(served, config(override_params={"model": "@green/gpt-4o"}))
        assert (slugs(route), route.targets[0].model) == (["green"], "gpt-4o")


@pytest.mark.parametrize(
    ("said", "status", "what"),
    [
        (config(virtual_key="nobody"), 400, "Following keys are not valid: nobody"),
        (config(virtual_key="hidden"), 403, "may not use the virtual key hidden"),
        (config(virtual_key="old"), 400, "is retired"),
        (config(virtual_key="off"), 400, "NOT_THERE is not set"),
        (config(override_params={"model": "@nobody/x"}), 400, "Following keys are not valid: nobody"),
        (config(**SPLIT, x=1) | {"x-portkey-custom-host": "https://h.example"}, 400, "x-portkey-custom-host"),
        ({"x-portkey-config": "pc-nothing"}, 400, "Invalid config id passed"),
        ({"x-portkey-config": "{'a': 1}"}, 400, "Invalid config passed. You need to pass a valid json"),
        (
            config(strategy={"mode": "fall"}, targets=[{}, {}]),
            400,
            "one of single, loadbalance, conditional, fallback",
        ),
        (config(cache={"mode": "semantic"}), 400, "cache.mode: semantic is not served"),
        (config(provider="nobody", api_key=SECRET), 400, "x-portkey-config: provider names no provider"),
        (config(provider="nobody-has-it", api_key=SECRET), 400, "Nor has litellm calls of that name."),
        (config(provider="fireworks", api_key=SECRET), 400, "Did you mean 'fireworks-ai'?"),
        (config(provider="nobody", api_key=SECRET), 400, "'openai-compatible', with its base URL, version path"),
        (config(provider="openai"), 400, "x-portkey-config: api_key is missing"),
        (config(targets=[{"provider": "openai"}]), 400, "x-portkey-config: targets.0.api_key is missing"),
        (config(provider="openai", api_key=f"{SECRET}\u200b"), 400, "api_key must be printable text"),
        (config(provider="openai", api_key=SECRET, custom_host="http://127.0.0.1:9"), 400, "Invalid custom host"),
    ],
)
async def test_what_cannot_be_used_is_refused_before_anything_is_stored(
    tmp_path: Path, said: dict[str, str], status: int, what: str
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        assert what in (await refused(served, said, status))["message"]


async def test_answers_name_the_one_provider_and_the_one_target(tmp_path: Path) -> None:
    twice = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "red"}, {"virtual_key": "green"}]}
    nested = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "red", "weight": 0}, {"targets": [{}]}]}
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        for said, provider, option in (
            ({"x-portkey-virtual-key": "red"}, "openai", "config"),
            (config(virtual_key="north") | {"x-portkey-virtual-key": "red"}, "anthropic", "config"),
            (config(targets=[{"virtual_key": "north"}]), "anthropic", "config.targets[0]"),
            (config(**nested) | {"x-portkey-virtual-key": "red"}, "openai", "config.targets[1].targets[0]"),
            (config(**twice), "openai", "config"),
            (config(**SPLIT), None, "config"),
        ):
            _, answered = await create(served, said)
            assert answered.get("x-portkey-provider") == provider
            assert answered["x-portkey-last-used-option-index"] == option


async def test_a_retried_create_is_known_by_its_config(tmp_path: Path) -> None:
    again = {"x-stainless-retry-count": "1"}
    asked = [config(**SPLIT), config(**SPLIT, strict=True), {"x-portkey-config": "pc-split"}, {}]
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        ids = []
        for headers in (*asked, *asked):
            _, batch, _ = await served.call("POST", "/v1/batches", WANTED, WHO | headers | again)
            ids.append(batch["id"])
        assert ids[:4] == ids[4:]
        assert len(set(ids)) == 4
        key = {"Idempotency-Key": "k"}
        assert (await served.call("POST", "/v1/batches", WANTED, WHO | asked[0] | key))[0] == 200
        assert (await served.call("POST", "/v1/batches", WANTED, WHO | asked[1] | key))[0] == 422


OWN_TARGET = {"provider": "openai", "api_key": SECRET, "openai_project": "p-1"}


async def test_a_config_may_bring_a_key_beside_virtual_keys(tmp_path: Path) -> None:
    said = config(strategy={"mode": "loadbalance"}, targets=[OWN_TARGET, {"virtual_key": "red"}, OWN_TARGET])
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        status, batch, _ = await served.call("POST", "/v1/batches", WANTED, WHO | said)
        assert status == 200
        row = await stored(served, batch["id"])
        route = decode_route(row.route)
        assert SECRET not in repr(row)
        assert [slug[:5] for slug in slugs(route)] == ["byok-", "red"]
        assert served.gateway.vault.held() == {batch["id"]}
        path = f"/v1/batches/{batch['id']}"
        served.gateway.vault.forget(batch["id"])
        for headers in (
            {},
            config(**(OWN_TARGET | {"api_key": OTHER_SECRET})),
            {"Authorization": f"Bearer {OTHER_SECRET}"},
        ):
            _, shown, _ = await served.call("GET", path, headers=WHO | headers)
            assert shown["errors"]["data"][0]["code"] == "needs_credentials"
        for headers in (said, {"Authorization": f"Bearer {SECRET}"}):
            served.gateway.vault.forget(batch["id"])
            _, shown, _ = await served.call("GET", path, headers=WHO | headers)
            assert shown["errors"] is None
            assert served.gateway.own_keys.credentials(row) is not None


async def test_a_batch_takes_one_key_of_its_caller(tmp_path: Path) -> None:
    other = OWN_TARGET | {"api_key": OTHER_SECRET}
    two = config(strategy={"mode": "loadbalance"}, targets=[OWN_TARGET, other])
    mixed = config(strategy={"mode": "loadbalance"}, targets=[OWN_TARGET, {}])
    header = {"x-portkey-provider": "openai", "Authorization": f"Bearer {OTHER_SECRET}"}
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        for said in (two, mixed | header):
            error = await refused(served, said)
            assert "one provider key of your own" in error["message"]
            assert OTHER_SECRET not in error["message"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"virtual_key": "rde"}, "configs.pc-a: unknown virtual key; did you mean red?"),
        ({"targets": [{"provider": "@nobody/m"}]}, "configs.pc-a.targets.0: unknown virtual key"),
        ({"provider": "nobody", "api_key": "k"}, "configs.pc-a.provider: unknown provider"),
        ({"strategy": {"mode": "loadbalance"}, "targets": [{"weight": -1}]}, "configs.pc-a.targets.0.weight: must be"),
        (
            {"strategy": {"mode": "loadbalance"}, "targets": [{"weight": 0, "virtual_key": "x"}, {}]},
            "unknown virtual key",
        ),
        ({"default_params": {"day": date(2026, 1, 1)}}, "configs.pc-a: holds what JSON cannot"),
    ],
)
def test_a_saved_config_is_checked_at_the_start(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"proxy_plugin": {"virtual_keys": {"red": OPENAI}, "configs": {"pc-a": entry}}}, {})
    assert problem in str(caught.value)


def test_a_saved_config_may_name_a_key_that_is_disabled_or_wrong_elsewhere() -> None:
    keys = {"off": OPENAI | {"api_key": "os.environ/NOT_THERE"}, "bad": {"provider": "openai"}}
    saved = {"pc-a": {"virtual_key": "off"}, "pc-b": {"virtual_key": "bad"}, "pc-c": {"virtual_key": "model-m"}}
    models = [{"model_name": "m", "litellm_params": {"model": "openai/x", "api_key": "k"}}]
    with pytest.raises(ConfigError) as caught:
        parse({"model_list": models, "proxy_plugin": {"virtual_keys": keys, "configs": saved}}, {})
    assert str(caught.value) == "proxy_plugin.virtual_keys.bad.api_key: missing setting"


async def test_the_nearest_switch_for_parameters_counts(tmp_path: Path) -> None:
    keys = {
        "plain": OPENAI,
        "lax": OPENAI | {"drop_params": True},
        "firm": OPENAI | {"drop_params": False},
        "stern": OPENAI | {"strict_params": True},
    }
    cases: list[tuple[str, dict[str, Any], tuple[bool, bool]]] = [
        ("plain", {}, (False, False)),
        ("lax", {}, (True, False)),
        ("stern", {}, (False, True)),
        ("plain", {"drop_params": True}, (True, False)),
        ("lax", {"drop_params": False}, (False, False)),
        ("lax", {"strict_params": True}, (False, True)),
        ("stern", {"strict_params": False}, (False, False)),
        ("stern", {"drop_params": True}, (True, True)),
        ("lax", {"drop_params": ["user"]}, (False, False)),
        ("firm", {}, (False, False)),
    ]
    callers = [{"name": "first", "key": KEY, "workspace": "one"}]
    async with serving(tmp_path, virtual_keys=keys, api_keys=callers, configs={}) as served:
        await put_file(served.gateway.registry)
        for slug, parts, expected in cases:
            route, _ = await create(served, {"x-portkey-virtual-key": slug} | (config(**parts) if parts else {}))
            target = route.targets[0]
            assert (target.drop_params, target.strict_params is True) == expected, (slug, parts)
        route, _ = await create(served, {})
        switches = {target.slug: target.drop_params for target in route.targets}
        assert switches == {"plain": False, "lax": True, "firm": False, "stern": False}
        assert rules(route).rule == ByLine()
        route, _ = await create(served, config(strict_params=True))
        assert rules(route).rule == ByLine(strict_params=True)


async def test_a_caller_that_names_nothing_has_its_default(tmp_path: Path) -> None:
    """The weakest of all: headers and lines come first."""
    callers = [CALLERS[0] | {"default": "green"}, {"name": "second", "key": OTHER_KEY, "default": "pc-split"}]
    async with serving(tmp_path, api_keys=callers) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {})
        rule = rules(route).rule
        assert isinstance(rule, ByLine)
        assert isinstance(rule.otherwise, To)
        assert route.targets[rule.otherwise.target].slug == "green"
        assert route.is_open
        for headers, expected in (
            ({"x-portkey-virtual-key": "red"}, ["red"]),
            ({"x-portkey-provider": "@north"}, ["north"]),
            (config(virtual_key="red"), ["red"]),
        ):
            route, _ = await create(served, headers)
            assert slugs(route) == expected
        await put_file(served.gateway.registry, "file-2", workspace="default")
        sent = {"Authorization": f"Bearer {OTHER_KEY}"}
        status, batch, _ = await served.call("POST", "/v1/batches", WANTED | {"input_file_id": "file-2"}, sent)
        assert status == 200, batch
        rule = rules(decode_route((await stored(served, batch["id"])).route)).rule
        assert isinstance(rule, ByLine)
        assert isinstance(rule.otherwise, Share)


async def test_a_default_is_enough_where_lines_can_name_nothing(tmp_path: Path) -> None:
    callers = [{"name": "first", "key": KEY, "workspace": "one", "virtual_keys": ["old", "green"], "default": "green"}]
    keys = {"green": OPENAI, "old": KEYS["old"]}
    async with serving(tmp_path, api_keys=callers, virtual_keys=keys, configs={}) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {})
        assert slugs(route) == ["green"]


async def test_a_default_that_takes_no_work_is_refused_by_name(tmp_path: Path) -> None:
    for default, code in (("old", "virtual_key_retired"), ("off", "virtual_key_disabled")):
        async with serving(tmp_path / default, api_keys=[CALLERS[0] | {"default": default}]) as served:
            await put_file(served.gateway.registry)
            assert (await refused(served, {}))["code"] == code
