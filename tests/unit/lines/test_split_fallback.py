"""Cutting a file whose route has further targets: who gets what the first cannot have, and which part goes on."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.manifest import MANIFEST, REJECTED, Manifest
from proxy_plugin.lines.row_store import ERROR
from proxy_plugin.lines.split import split
from proxy_plugin.routing.route import ByLine, Case, Fallback, Name, Names, Option, Rescue, Rules, Share, To, When
from tests.toy.toy_batch import ToyBatch, chat, files_below
from tests.toy.toy_lane import CHAT
from tests.toy.toy_splits import account, assigned, cards, embedding, remarks

pytestmark = pytest.mark.usefixtures("toys")

AB = Fallback((To(0), To(1)))


def cut(batch: ToyBatch, rule: Any, *targets: TargetSpec, rescue: Rescue | None = None, **rules: Any) -> Manifest:
    job = msgspec.structs.replace(
        batch.split_job(), targets=targets, rules=Rules(rule=rule, **rules), endpoint="auto", rescue=rescue
    )
    batch.manifest = split(job)
    return batch.manifest


def told(manifest: Manifest) -> list[tuple[str, int, int | None, str]]:
    return [(part.slug, part.lines, part.goes_on, part.way) for part in manifest.parts]


def test_parts_tell_where_their_lines_go_on(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n)) for n in range(4)])
    manifest = cut(batch, Share((1.0, 1.0), (AB, To(2))), account("a"), account("b"), account("c"))
    assert told(manifest) == [("c", 2, None, "native"), ("a", 2, 0, "native")]
    stored = json.loads((tmp_path / "split" / MANIFEST).read_bytes())["parts"]
    assert [part.get("goes_on") for part in stored] == [None, 0]


def test_parts_never_mix_lines_that_go_on_differently(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n)) for n in range(6)])
    manifest = cut(batch, Share((1.0, 1.0), (AB, To(0))), account("a"), account("b"))
    assert sorted(told(manifest), key=str) == [("a", 3, 0, "native"), ("a", 3, None, "native")]


def test_a_line_that_its_target_cannot_have_goes_to_the_next_at_once(tmp_path: Path) -> None:
    lines = [chat("0"), chat("1", seed=7), chat("2", model="silk"), embedding("3"), chat("4")]
    batch = ToyBatch(tmp_path, lines)
    first = account("a", models=("wool-1",))
    manifest = cut(batch, AB, first, account("b", drop_params=True))
    assert (manifest.rejected, assigned(batch)) == (0, [0, 1, 1, 2, 0])
    assert told(manifest) == [("a", 2, 0, "native"), ("b", 2, None, "native"), ("b", 1, None, "native")]
    assert [card["engine"] for card in cards(batch, 1)] == ["wool-1", "silk"]


def test_where_nobody_can_have_a_line_the_first_refusal_is_told(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("0", seed=7), chat("1", model="silk"), chat("2")])
    manifest = cut(batch, AB, account("a", models=("wool-*",)), account("b", models=("wool-*",)))
    assert assigned(batch) == [REJECTED, REJECTED, 0]
    seed, model = remarks(batch, ERROR)
    assert (seed.meta.param, seed.meta.slug, model.meta.code, model.meta.slug) == (
        "body.seed",
        "a",
        "model_not_allowed",
        "a",
    )
    assert b"'a'" in model.text
    assert manifest.rejected == 2


def test_a_strict_target_fails_the_batch_only_for_lines_that_nobody_can_have(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("0", seed=7)])
    strict = account("a", strict=True)
    assert cut(batch, AB, strict, account("b", drop_params=True)).faults == ()
    assert [fault.param for fault in cut(batch, AB, strict, account("b")).faults] == ["body.seed"]


def test_lines_that_name_what_cannot_be_used_go_on(tmp_path: Path) -> None:
    names = Names({"a": 0}, {"old": "virtual_key_retired"})
    models = ["@a/x", "@old/x", "@nobody/x", "what"]
    batch = ToyBatch(tmp_path, [chat(str(n), model=model) for n, model in enumerate(models)])
    manifest = cut(batch, Fallback((ByLine(), To(1))), account("a"), account("b", model="wool-b"), names=names)
    assert [(part.slug, part.lines) for part in manifest.parts] == [("a", 1), ("b", 3)]
    assert [card["engine"] for card in cards(batch, 1)] == ["wool-b"] * 3


def test_the_same_target_is_not_asked_twice_by_the_split(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("0", seed=7), chat("1")])
    manifest = cut(batch, To(0), account("a"), rescue=Rescue())
    assert (manifest.rejected, told(manifest)) == (1, [("a", 1, 0, "native")])
    manifest = cut(batch, To(0), account("a", direct="allowed"))
    assert (manifest.rejected, told(manifest)) == (1, [("a", 1, 0, "native")])


def test_a_route_without_further_targets_is_split_into_the_same_bytes_as_ever(tmp_path: Path) -> None:
    """Recorded before there was anything to go on to: assignment, documents, manifest with its marks, and remarks."""
    models = ("wool-1", "@b/x", "silk")
    seeds: list[dict[str, Any]] = [{"seed": n} if n % 4 == 0 else {} for n in range(40)]
    lines = [chat(str(n), model=models[n % 3], max_tokens=n * 10, **seed) for n, seed in enumerate(seeds)]
    batch = ToyBatch(tmp_path, lines)
    rule = When((Case({"params.max_tokens": {"$gt": 200}}, 1),), (Share((2.0, 1.0), (To(0), To(1))), ByLine()), 0)
    names = Names(slugs={"a": 0, "b": 1}, models={"silk": Name((Option(1, "wool-s"), Option(2, "wool-t", 2.0)))})
    specs = (account("a", drop_params=True, max_lines=5), account("b"), account("c", drop_params=True))
    job = msgspec.structs.replace(batch.split_job(), targets=specs, rules=Rules(rule=rule, names=names), endpoint=CHAT)
    assert len(split(pickle.loads(pickle.dumps(job))).parts) == 5  # as it comes to a worker
    files = files_below(tmp_path / "split")
    found = hashlib.sha256(b"".join(name.encode() + b"\0" + text for name, text in files.items())).hexdigest()
    assert found == "0cac60fa8b46725dcaf2126bce8076ba48ce679b5e9343226c3b7b11a8c75505"
