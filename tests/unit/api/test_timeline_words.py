"""Every kind of event that the code writes has a word, and the dashboard a sentence for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from proxy_plugin.api import ui
from proxy_plugin.api.batches.timeline import WORDS, entry
from proxy_plugin.storage.views.history import Happened

ROOT = Path(__file__).parents[3] / "proxy_plugin"
ELSEWHERE = {
    *("create provably absent", "create taken to be absent", "calls begin"),
    *("not ours after all", "deleted before it was certain"),
    *("retry of", "requests came inline"),
    *("completed", "failed", "expired", "cancelled"),
}


def written() -> Iterator[str]:
    """Yield the texts that stand in calls of `batches.event`."""
    for path in (*ROOT.glob("engine/**/*.py"), ROOT / "storage" / "tables" / "batches.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", getattr(called, "id", ""))
            if isinstance(node, ast.Call) and name == "event" and len(node.args) >= 5:
                what = node.args[4]
                yield from (str(each.value) for each in ast.walk(what) if isinstance(each, ast.Constant))


def test_every_event_has_a_word() -> None:
    assert {*written(), *ELSEWHERE} == set(WORDS)


def test_the_dashboard_has_a_sentence_for_every_word() -> None:
    [told] = re.findall(r"const TOLD = \{(.*?)\n\};", ui.assets()["batch.js"].content.decode(), re.DOTALL)
    assert set(re.findall(r"^  (\w+):", told, re.MULTILINE)) == set(WORDS.values())


def test_an_entry_without_a_place_names_none() -> None:
    row = Happened(3, 1_700_000_000.1239, "outcome unknown", "", None, None, None, None)
    assert entry(row) == {"id": "3", "object": "batch.timeline_entry", "at": 1_700_000_000.124, "what": "in_doubt"}
