"""Regular expressions and configs that are made to cost: none of them holds up who did not send it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.attacks.rig import MOST_HEALTHZ, Seen, Tenant, Town, show

BODY = {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "x"}]}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
HEADER = 31_000  # characters of a config that the gateway's server takes
ONE = {"params.x": 1}
AT_ONCE = 8  # connections of the attacker
FREEZING = [  # each held the event loop, a worker or both in one engine or another
    "(?:(?:){2000}){2000}",
    "(?:(?:){900}){900}",
    "(?:(?:(?:){9}){9}){9}",
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(.*a){12}",
    "([a-zA-Z]+)*$",
    "(?:.*a){900}$",
    "(?:a?){600}a{600}",
    "((((a*)*)*)*)*b",
    "(?:a{30}){30}",
    "a{1000}{1000}",
    r"\pL{1000}",
    r"(?i)\PL{1000}",
    r"(\pL*)*" * 500,
    r"\PL" * 1_300,
    r"(?i)\PL" + r"\PL" * 1_300,
    r"\pL|" * 1_000,
    r"[^\pL]" * 650,
    "a?" * 2_000,
    ".{1000}",
    "[" + r"\pN\pL" * 600 + "]",
]
DEEP = [  # each ended in a 500, or might
    "(" * 2_000 + ")" * 2_000,
    "(?:" * 1_000 + ")" * 1_000,
    "(?:" * 4_000,
    "(" * 240 + "a" + ")" * 240,
    "(?:" * 500 + "a" + ")*" * 500,
    "[" * 3_000,
    "(?i)" * 1_000,
    "(?P<" * 500,
    "|" * 4_000,
    "^" * 4_000,
    "(|" * 1_300 + ")" * 1_300,
    r"\Q" * 1_000,
    "\\",
    "\0",
    "\ud83d",
    "\udc00" * 100,
    "a{99999999999999999999}",
    "(?<secret>",
    r"(secret)\1",
]


def when(queries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a config of these conditions."""
    cases = [{"query": each, "then": "a"} for each in queries]
    targets = [{"name": "a", "virtual_key": "lane"}]
    return {"strategy": {"mode": "conditional", "conditions": cases, "default": "a"}, "targets": targets}


def searching(*patterns: str) -> dict[str, Any]:
    return when([{"params.model": {"$regex": each}} for each in patterns])


def asked(who: Tenant, config: object, path: str = "/batches") -> tuple[int, str]:
    """Ask for a batch, or a plan, with a config; return the status and what was said."""
    return answered(who, {}, path, {"x-portkey-config": json.dumps(config, separators=(",", ":"))})


def answered(
    who: Tenant, more: dict[str, Any], path: str = "/batches", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """Ask with a body that has more than it needs."""
    file = "file-that-is-not-there"
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | more
    try:
        who.call("POST", path, body, headers=headers)
    except HTTPError as refusal:
        return refusal.code, str(json.loads(refusal.read())["error"]["message"])
    return 200, ""


def attack(ask: Callable[[Any], tuple[int, str]], with_each: Sequence[object]) -> Counter[int]:
    """Ask with each of these, several at once; return how often each status came."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(status for status, _ in pool.map(ask, with_each))


def hostile(rounds: int) -> Iterator[object]:
    """Yield configs of which none is like another, so that no memory helps."""
    for number in range(rounds):
        for pattern in FREEZING:
            yield searching(f"x{number}", pattern[: 4_000 - len(pattern) % 7])


def check_loop(quiet: Seen, seen: Seen) -> None:
    """The event loop is everybody's. What a batch takes is only printed: the attacker's own process has a core too."""
    assert not seen.failed, f"the victim was not served: {seen}"
    assert seen.worst("healthz") < MOST_HEALTHZ, f"{quiet} / {seen}"


def calm(town: Town) -> Seen:
    """Return what the victim sees when nothing else happens and the workers have started."""
    town.watch(0.0)
    return town.watch(2.0)


def test_patterns_hold_up_nobody_else(town: Town, campaign: bool) -> None:
    costing, quiet = [*hostile(20 if campaign else 1)], calm(town)
    with town.watching() as seen:
        statuses = attack(partial(asked, town.attacker), costing)
    show(f"{statuses.total()} configs with patterns that cost, answered {dict(statuses)}", quiet, seen)
    check_loop(quiet, seen)
    assert set(statuses) <= {400, 404, 429}, "404: the pattern is taken, the file is not there"


def test_no_pattern_is_the_gateways_fault(town: Town) -> None:
    for number, pattern in enumerate([*DEEP, *(f"secret{each}" for each in DEEP)]):
        for path in ("/batches", "/batches/plan"):
            status, said = asked(town.attacker, searching(pattern), path)
            assert status in (400, 404), (pattern[:20], status, said)
            assert "secret" not in said
            assert status == 404 or "the config: " in said or "conditions.0.query.params.model.$regex: " in said, number


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (when([ONE] * 64), ""),
        (when([ONE] * 65), "strategy.conditions.64.query"),
        (when([{"$or": [ONE] * 4}] * 64), ""),
        (when([{"$or": [ONE] * 257}]), "strategy.conditions.0.query"),
        (searching(*["a"] * 64), ""),
        (searching(*["a"] * 65), "strategy.conditions.64.query"),
        (when([{"$and": [{"params.x": {"$regex": "a"}}] * 65}]), "strategy.conditions.0.query.$and.64.params.x.$regex"),
        (searching("a" * 2_000), ""),
        (searching("a" * 4_097), "strategy.conditions.0.query.params.model.$regex"),
        (searching("a" * 1_000, "b" * 1_000, "c" * 1_000), "strategy.conditions.2.query.params.model.$regex"),
        (searching("fine", "(?=not)"), "strategy.conditions.1.query.params.model.$regex"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(json.dumps(value))),
)
def test_what_a_config_may_ask(town: Town, config: dict[str, Any], path: str) -> None:
    status, said = asked(town.attacker, config)
    assert status == (400 if path else 404), said
    assert f"Invalid config passed: {path}: " in said if path else "file-that-is-not-there" in said


def crowded(rounds: int) -> Iterator[object]:
    """Yield configs as large as a header, full of names that are nearly ours."""
    chance = random.Random(12)
    for _ in range(rounds):
        yield filled({f"k{each}": 1 for each in range(9_999)})
        yield filled({"".join(chance.sample("override_paramsx", 16)): 1 for _ in range(9_999)})
        yield filled({f"wieght{each}": 1 for each in range(9_999)})
        yield when([{"params.x": filled({f"$re{each}": 1 for each in range(9_999)}, 300)}])
        yield when([filled({f"params.{each}": 1 for each in range(9_999)}, 300)])
        yield {"strategy": {"mode": "stra" * 7_000}, "targets": [{}, {}]}
        yield {"strategy": {"mode": "loadbalance"}, "targets": [{"wieght": 1}] * 2_000}
        yield when([{"params.x": {"$in": [*range(5_000)]}}])


def filled(names: dict[str, Any], spare: int = 0) -> dict[str, Any]:
    """Return as many of the names as a header has room for."""
    room, kept = HEADER - spare, dict[str, Any]()
    for name, value in names.items():
        room -= len(json.dumps(name)) + 3
        if room < 0:
            break
        kept[name] = value
    return kept


def test_headers_full_of_names_hold_up_nobody_else(town: Town, campaign: bool) -> None:
    costing, quiet = [*crowded(50 if campaign else 16)], calm(town)
    with town.watching() as seen:
        statuses = attack(partial(asked, town.attacker), costing)
    show(f"{statuses.total()} headers full of names, answered {dict(statuses)}", quiet, seen)
    check_loop(quiet, seen)
    assert set(statuses) <= {400, 404}


def bodies(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield what makes a body nearly as large as one may be, in names or in a config that it brings."""
    many = {f"k{each}": 1 for each in range(70_000)}
    long = {"a_model_b_" * 50_000: 1}
    for _ in range(rounds):
        yield many
        yield long
        yield {"provider_options": many}
        yield {"portkey_options": {f"x-portkey-{each}": "1" for each in range(35_000)}}
        yield {"portkey_options": {"x-portkey-config": many}}
        yield {"portkey_options": {"x-portkey-config": when([{"params.x": {"$in": [*range(90_000)]}}])}}
        yield {"portkey_options": {"x-portkey-config": searching("a" * 800_000)}}
        yield {"portkey_options": {"x-portkey-config": searching(*["a"] * 12_000)}}


def test_bodies_full_of_names_hold_up_nobody_else(town: Town, campaign: bool) -> None:
    costing, quiet = [*bodies(10 if campaign else 2)], calm(town)
    with town.watching() as seen:
        statuses = attack(partial(answered, town.attacker), costing)
    show(f"{statuses.total()} bodies full of names, answered {dict(statuses)}", quiet, seen)
    check_loop(quiet, seen)
    assert set(statuses) <= {400, 404}, "404: a long name steers nothing"


def test_searches_read_the_beginning_of_a_text(town: Town, campaign: bool) -> None:
    """The dearest program that is taken, and texts that it never matches: a line costs what 4 KiB cost."""
    text, count = "ab" * 100_000, 100 if campaign else 5
    lines = [LINE | {"custom_id": f"{each}", "body": BODY | {"user": text}} for each in range(count)]
    quiet = calm(town)
    with town.watching() as seen:
        begun = time.monotonic()
        file = town.attacker.upload("\n".join(map(json.dumps, lines)).encode())
        config = {"x-portkey-config": json.dumps(when([{"params.user": {"$regex": "(?:.*b){230}c$"}}]))}
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
        plan = town.attacker.call("POST", "/batches/plan", body, headers=config, timeout=60)
        seconds = time.monotonic() - begun
    show(f"{count} lines of 200 KB, searched and planned in {seconds:.1f} s", quiet, seen)
    check_loop(quiet, seen)
    assert plan["request_counts"]["total"] == count, plan
    assert plan["targets"], plan
