"""The words of the design are defined for strangers, each with the module that gives it its meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = """
    workspace, caller, account, virtual key, own key, vault, fingerprint, route, target, lane, signer, token, service,
    request, piece,
    line, ordinal, envelope, fault, part, manifest, cut, heir, suspects, partition, mark, native id, sink, remark,
    loss, hint, album, job, submission, intent, fence, sent, doubt, sighting, control, settle, absent, revoke, adopt,
    provisional, confirm, guess, audit, stranger, step, reconciler, desk, queue, turn, wait, failpoint, ballast, blob,
    spool, row, reading, attempt, fate, verdict, ledger, tally, sandbox, stand-in, dialect, case, scene, room, claim,
    rank, allowance, clearing, way, continuation, rescue,
    superseded, pace, kept answer, occurrence, shelf, identity, wish, charge, report, purse,
    range, stretch, receiver, delivery, tree, publish, present, orphan,
    claim on a row, duty, replica, sender, hold
"""
WORDS = {word.strip() for word in NEEDED.split(",")}
ENTRIES = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| `([^|`]+)` \|$", (ROOT / "docs" / "words.md").read_text(), re.MULTILINE
)


def test_every_word_of_the_design_is_defined_once() -> None:
    assert sorted(word for word, _, _ in ENTRIES) == sorted(WORDS)


@pytest.mark.parametrize(("word", "module"), [(word, module) for word, _, module in ENTRIES])
def test_the_module_of_a_word_exists_and_uses_it(word: str, module: str) -> None:
    text = (ROOT / module).read_text().lower().replace("_", " ").replace("standin", "stand-in")
    stem = re.escape(word.removesuffix("e").removesuffix("y"))
    assert re.search(rf"\b{stem}", text), f"{module} does not speak of {word!r}"
