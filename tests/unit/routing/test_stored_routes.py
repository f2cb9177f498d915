"""Routes as they were stored with batches that are still open: every later version reads them as they were meant."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from proxy_plugin.lines.choose import Chooser, target_spec
from proxy_plugin.routing.route import (
    ByLine,
    Cache,
    Case,
    Fallback,
    Names,
    Rescue,
    Route,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
    decode_route,
    encode_route,
    models_of,
)

BEFORE = (  # of the version before there were fallback, direct calls and kept answers
    '{"targets":[{"slug":"red","provider":"openai","model":"gpt-4o","drop_params":false,"max_lines_per_job":7,'
    '"max_bytes_per_job":null,"min_lines_per_job":null,"models":["gpt-*"],"strict":true,"changes":{"override":{"n":2},'
    '"remove":["seed"]}},{"slug":"north","provider":"anthropic","model":null,"drop_params":true,'
    '"max_lines_per_job":null,"max_bytes_per_job":null,"min_lines_per_job":null,"models":null,"strict_params":true}],'
    '"strict":true,"on_deadline":"wait","rules":{"rule":{"type":"when","cases":[{"query":{"params.n":1},"then":1}],'
    '"rules":[{"type":"share","weights":[3.0,1.0],"rules":[{"type":"to","target":0},{"type":"to","target":1}]},'
    '{"type":"line","strict":true}],"default":0,"strict":false},"names":{"slugs":{"north":1}},"slugs":["old"],'
    '"metadata":{"team":"ads"}},"forward":{"x-a":"b"}}'
)


def test_a_route_of_before_is_read_as_it_was_meant() -> None:
    route = decode_route(BEFORE)
    rule = When((Case({"params.n": 1}, 1),), (Share((3.0, 1.0), (To(0), To(1))), ByLine(strict=True)), 0, strict=False)
    assert route.rules == Rules(rule, Names({"north": 1}), ("old",), metadata={"team": "ads"})
    assert (route.on_deadline, route.forward) == ("wait", {"x-a": "b"})
    assert (route.rescue, route.cache, route.fan_out, route.targets[0].direct) == (UNSET, UNSET, UNSET, UNSET)
    assert encode_route(route) == BEFORE
    specs = list(map(target_spec, route.targets))
    assert {(spec.way, spec.direct) for spec in specs} == {("native", None)}
    assert isinstance(route.rules, Rules)
    assert Chooser(specs, route.rules).continuations == []


def test_what_is_new_is_read_as_it_was_stored() -> None:
    route = Route(
        (StoredTarget("a", "openai", direct="always"), StoredTarget("b", "openai", direct="never")),
        rules=Rules(Fallback((To(0), ByLine(direct="allowed")), (429,))),
        rescue=Rescue(2, 60.0, (500,)),
        cache=Cache(5.0, "n", refresh=True),
        fan_out=True,
    )
    assert decode_route(encode_route(route)) == route
    assert [target_spec(each).way for each in route.targets] == ["direct", "native"]
    assert "rescue" not in msgspec.json.decode(encode_route(Route(route.targets)))


def test_an_account_has_one_model_where_all_of_its_targets_ask_for_it() -> None:
    asked: dict[str, list[str | None]] = {
        "one": ["m", "m"],
        "two": ["m", "n"],
        "some": ["m", None],
        "none": [None],
        "twice": [None, None, "m", "m"],
    }
    targets = tuple(
        StoredTarget(slug, "openai", model, max_lines_per_job=n)
        for slug, models in asked.items()
        for n, model in enumerate(models, 1)
    )
    assert models_of(Route(targets=targets)) == {"one": "m"}
