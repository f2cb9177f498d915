"""Config objects as callers write them: what they mean, what is inherited, and what is said of a wrong one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.routing.config_text import Invalid
from proxy_plugin.routing.config_tree import Node, OwnAccount, Slug
from proxy_plugin.routing.portkey_config import read, read_header

SECRET = "sk-5up3r-s3cr3t-key"
HEADER = "x-portkey-config"


def problems(config: dict[str, Any]) -> dict[str, str]:
    """Return {path: what is wrong}; no text shows a value."""
    with pytest.raises(Invalid) as caught:
        read(config)
    assert SECRET not in str(caught.value)
    return dict(caught.value.problems)


def nested(depth: int) -> dict[str, Any]:
    config: dict[str, Any] = {"virtual_key": "a"}
    for _ in range(depth):
        config = {"strategy": {"mode": "single"}, "targets": [config]}
    return config


def share(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "loadbalance"}, "targets": list(targets), **more}


def when(**strategy: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "conditional", **strategy}, "targets": [{"name": "a"}, {"name": "b"}]}


def slugs(node: Node) -> list[str | None]:
    accounts = [target.settings.account for target in node.targets()]
    return [account.slug if isinstance(account, Slug) else None for account in accounts]


@pytest.mark.parametrize(
    ("config", "slug", "model"),
    [
        ({"virtual_key": "a"}, "a", None),
        ({"virtual_key": "@a"}, "a", None),
        ({"provider": "@a"}, "a", None),
        ({"provider": "@a/maker/model-1"}, "a", "maker/model-1"),
        ({"provider": "@a", "virtual_key": "b"}, "a", None),
        ({"provider": "openai", "virtual_key": "b"}, "b", None),
        ({"provider": "@a/m", "override_params": {"model": "n"}}, "a", "n"),
        ({"retry": {"attempts": 3}, "cache": {"mode": "simple"}, "request_timeout": 5}, None, None),
        ({}, None, None),
        ({"virtual_key": "a", "anything": 1, "forward_headers": ["x"], "metadata": {}}, "a", None),
        ({"strategy": {"mode": "single"}, "virtual_key": "a"}, "a", None),
        ({"targets": [{"virtual_key": "a"}]}, "a", None),
        ({"strategy": {"mode": "single"}, "targets": [{"virtual_key": "a"}, {"virtual_key": "b"}]}, "a", None),
    ],
)
def test_one_target(config: dict[str, Any], slug: str | None, model: str | None) -> None:
    node = read(config)
    assert slugs(node) == [slug]
    assert node.targets()[0].settings.model == model


def test_children_inherit_key_by_key() -> None:
    node = read(
        share(
            {"virtual_key": "a", "override_params": {"top_p": 1, "model": "m"}, "drop_params": True},
            {"strategy": {"mode": "single"}, "targets": [{"default_params": {"n": 2}, "drop_params": ["x.y"]}]},
            virtual_key="up",
            override_params={"seed": 12345678901234567890123, "top_p": 0.5},
            default_params={"n": 1, "user": "é"},
            drop_params=["user"],
            strict=True,
            on_deadline="wait",
        )
    )
    first, second = (target.settings for target in node.targets())
    assert {name: bytes(text) for name, text in first.override.items()} == {
        "seed": b"12345678901234567890123",
        "top_p": b"1",
    }
    assert (first.model, first.account, first.drop_params, first.remove) == ("m", Slug("a"), True, ())
    assert {name: bytes(text) for name, text in second.default.items()} == {"n": b"2", "user": '"é"'.encode()}
    assert (second.account, second.drop_params, second.remove) == (Slug("up"), False, ("x.y",))
    assert all(each.strict and each.on_deadline == "wait" for each in (first, second))


def test_fetch_media_is_inherited_until_a_child_sets_its_own() -> None:
    node = read(share({"virtual_key": "a"}, {"virtual_key": "b", "fetch_media": False}, fetch_media=True))
    assert [target.settings.fetch_media for target in node.targets()] == [True, False]
    assert not read({"virtual_key": "a"}).settings.fetch_media


def test_a_target_with_a_key_of_ones_own_keeps_its_text_fields() -> None:
    node = read({"provider": "openai", "api_key": SECRET, "openai_project": " p ", "weight": 3, "x_json": {"a": 1}})
    account = node.settings.account
    assert isinstance(account, OwnAccount)
    assert account.fields == {"api_key": SECRET, "openai_project": "p", "x_json": '{"a": 1}'}
    assert SECRET not in repr(node)


def test_only_what_lines_can_come_to_counts() -> None:
    shared = share({"virtual_key": "a"}, {"virtual_key": "b", "weight": 0}, {"virtual_key": "c", "weight": 0.5})
    assert slugs(read(shared)) == ["a", "c"]
    assert len(list(read(shared).every_target())) == 3
    chosen = when(conditions=[{"query": {"params.x": 1}, "then": "b"}])
    assert [target.name for target in read(chosen).targets()] == ["b"]


@pytest.mark.parametrize(
    ("config", "path", "what"),
    [
        ({"strategy": {"mode": "fall_back"}, "targets": [{}, {}]}, "strategy.mode", "did you mean fallback?"),
        ({"strategy": {"mode": "first"}, "targets": [{}]}, "strategy.mode", "loadbalance, conditional, fallback"),
        ({"strategy": {"mode": "fallback"}, "targets": []}, "targets", "at least one target"),
        ({"strategy": {"mode": "loadbalanced"}, "targets": [{}]}, "strategy.mode", "did you mean loadbalance?"),
        ({"strategy": {"mode": 5}, "targets": [{}]}, "strategy.mode", "must be one of"),
        ({"strategy": {}, "targets": [{}, {}]}, "strategy.mode", "is missing"),
        ({"targets": [{}, {}]}, "strategy.mode", "is missing"),
        ({"strategy": "loadbalance", "targets": [{}]}, "strategy", "must be an object"),
        ({"strategy": {"mode": "loadbalance"}}, "targets", "at least one target"),
        (share(), "targets", "at least one target"),
        ({"targets": {"a": 1}, "strategy": {"mode": "single"}}, "targets", "must be a list"),
        (share({}, 7), "targets.1", "must be an object"),  # type: ignore[arg-type]
        ({"stategy": {"mode": "single"}}, "stategy", "did you mean strategy?"),
        ({"target": []}, "target", "did you mean targets?"),
        (share({"wieght": 1}), "targets.0.wieght", "did you mean weight?"),
        ({"virtualkey": "a"}, "virtualkey", "did you mean virtual_key?"),
        (when(condition=[]) | {"targets": [{}]}, "strategy.condition", "did you mean conditions?"),
        (share({"weight": -1}), "targets.0.weight", "0 or above"),
        (share({"weight": True}), "targets.0.weight", "must be a number"),
        (share({"weight": "2"}), "targets.0.weight", "must be a number"),
        (share({"weight": 0}, {"weight": 0}), "targets", "no target has a weight above 0"),
        ({"virtual_key": 5}, "virtual_key", "must be a text"),
        ({"provider": " "}, "provider", "must be a text"),
        ({"api_key": SECRET}, "provider", "is missing"),
        ({"virtual_key": "a", "custom_host": f"https://{SECRET}"}, "custom_host", "of your own"),
        ({"override_params": [SECRET]}, "override_params", "must be an object"),
        ({"override_params": {"model": 5}}, "override_params.model", "a model name"),
        ({"override_params": {"stream": True}}, "override_params.stream", "cannot stream"),
        ({"default_params": {"x": "\ud83d"}}, "default_params", "no Unicode text"),
        ({"drop_params": "user"}, "drop_params", "must be true, or a list"),
        ({"fetch_media": "yes"}, "fetch_media", "must be true or false"),
        ({"fetchmedia": True}, "fetchmedia", "did you mean fetch_media?"),
        ({"drop_params": ["model"]}, "drop_params", "not 'model'"),
        ({"drop_params": ["a..b"]}, "drop_params", "dotted paths"),
        ({"strict": "yes"}, "strict", "true or false"),
        ({"on_deadline": "never"}, "on_deadline", "cancel or wait"),
        (share({"on_deadline": "wait"}), "targets.0.on_deadline", "set it at the top"),
        (when(), "strategy.conditions", "at least one"),
        (when(conditions=[5]), "strategy.conditions.0", "must be an object"),
        (when(conditions=[{"query": {"params.x": 1}}]), "strategy.conditions.0.then", "is missing"),
        (when(conditions=[{"query": {"params.x": 1}, "then": "c"}]), "strategy.conditions.0.then", "'name' of one"),
        (when(conditions=[{"query": {"x": 1}, "then": "a"}]), "strategy.conditions.0.query.x", "a condition is over"),
        (when(conditions=[{"query": {"params.x": 1}, "then": "a"}], default="c"), "strategy.default", "'name' of one"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(config: dict[str, Any], path: str, what: str) -> None:
    assert what in problems(config)[path]


def test_names_within_a_group_are_different() -> None:
    config = when(conditions=[{"query": {"params.x": 1}, "then": "a"}]) | {"targets": [{"name": "a"}, {"name": "a"}]}
    assert problems(config) == {"targets.1.name": "is the name of an earlier target, too"}


def test_nesting_and_targets_are_bounded() -> None:
    assert slugs(read(nested(5))) == ["a"]
    assert list(problems(nested(6)).values()) == ["targets may be nested 5 deep"]
    assert len(read(share(*[{"virtual_key": "a"}] * 64)).targets()) == 64
    assert problems(share(*[{}] * 9_999)) == {"targets.64": "a config may have at most 64 targets"}


def test_conditions_are_bounded_over_all_groups() -> None:
    def group(query: dict[str, Any], number: int) -> dict[str, Any]:
        return when(conditions=[{"query": query, "then": "a"}] * number) | {"targets": [{"name": "a"}]}

    one, many = {"params.x": 1}, {f"params.x{each}": 1 for each in range(4)}
    assert len(read(group(one, 64)).conditions) == 64
    assert problems(group(one, 65)) == {"strategy.conditions.64.query": "a config may have at most 64 conditions"}
    inner = group(one, 1) | {"name": "a"}
    assert list(problems(group(one, 64) | {"targets": [inner]})) == ["targets.0.strategy.conditions.0.query"]
    assert len(read(group(many, 64)).conditions) == 64
    [(path, what)] = problems(group(many | {"params.y": 1}, 63)).items()
    assert (path, "256 comparisons" in what) == ("strategy.conditions.51.query", True)


@pytest.mark.parametrize(
    ("patterns", "place", "what"),
    [
        (["a"] * 65, 64, "at most 64 patterns"),
        (["a" * 4_097], 0, "4096 bytes together"),
        (["a" * 2_048] * 3, 2, "4096 bytes together"),
        (["é" * 2_049], 0, "4096 bytes together"),
    ],
)
def test_patterns_are_bounded_before_any_is_compiled(patterns: list[str], place: int, what: str) -> None:
    query = {"$or": [{"params.x": {"$regex": each}} for each in patterns]}
    [(path, said)] = problems(when(conditions=[{"query": query, "then": "a"}])).items()
    assert path == f"strategy.conditions.0.query.$or.{place}.params.x.$regex"
    assert what in said


def test_a_weight_may_be_any_number() -> None:
    node = read(share({"weight": 10**400}, {"weight": 1e-9}))
    assert [child.weight for child in node.children] == [1e15, 1e-9]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pc-unknown", "Invalid config id passed"),
        ("split", "Invalid config id passed"),
        ("{", "Invalid config passed. You need to pass a valid json"),
        ('{"weight": NaN}', "Invalid config passed. You need to pass a valid json"),
        ('{"weight": 1e999}', "Invalid config passed. You need to pass a valid json"),
        ('{"a":' * 5000, "Invalid config passed. You need to pass a valid json"),
        ("[]", "Invalid config passed: the config: must be a JSON object"),
        ('{"x": "' + "y" * 65_536 + '"}', "Invalid config passed: the config: may have at most 65536 characters"),
        ('{"virtual_key": "\\ud83d"}', "Invalid config passed: the config: holds half of a character"),
        ('{"x": {"\\udc00": 1}}', "Invalid config passed: the config: holds half of a character"),
        ('{"strategy": {"mode": "x"}, "targets": [{}]}', "Invalid config passed: strategy.mode: must be one of single"),
        (json.dumps({"api_key": SECRET}), "Invalid config passed: provider: is missing"),
    ],
)
def test_a_header_is_refused_in_portkeys_words(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_header(text, {}, HEADER)
    assert caught.value.message.startswith(what)
    assert (caught.value.param, caught.value.code, caught.value.status) == (HEADER, "invalid_config", 400)
    assert len(caught.value.message) < 2_000


def test_a_header_holds_json_or_the_id_of_a_saved_config() -> None:
    saved = {"pc-a": {"virtual_key": "saved"}}
    assert slugs(read_header(" pc-a ", saved, HEADER)) == ["saved"]
    assert slugs(read_header('\n{"virtual_key": "inline"}', saved, HEADER)) == ["inline"]
