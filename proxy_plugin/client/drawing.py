"""A batch as a notebook shows it: one small table with its progress. All that a gateway sent is escaped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

from proxy_plugin.commands.watching import counts, ended, progress_note, waits_for
from proxy_plugin.commands.wording import JSON, clean, count, mapping, money, objects, span

ERRORS_SHOWN = 5


def html(batch: JSON, note: str | None = None) -> str:
    """Return a batch as HTML, without a script and without an address. `note`: why it may not be of now."""
    total, completed, failed = counts(batch)
    facts = [
        ("status", clean(batch.get("status"))),
        ("lines", f"{count(completed)} completed, {count(failed)} failed of {count(total)}" if total else ""),
        ("waits for", waits_for(batch)),
        ("cost", money(batch.get("cost"))),
        ("took" if ended(batch) else "for", _age(batch)),
        *(("error", clean(each.get("message"))) for each in _errors(batch)),
        ("note", clean(note)),
    ]
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in facts
        if text
    )
    bar = f"<progress max='{total or 1}' value='{completed + failed}' style='width:100%'></progress>"
    return f"<table><caption style='text-align:left'>{escape(clean(batch['id']))}{bar}</caption>{rows}</table>"


def _errors(batch: JSON) -> list[JSON]:
    return objects(mapping(batch.get("errors")).get("data"))[:ERRORS_SHOWN]


def _age(batch: JSON) -> str:
    began = batch.get("created_at")
    ends = (batch.get(f"{name}_at") for name in ("completed", "failed", "expired", "cancelled"))
    until = next((end for end in ends if isinstance(end, int)), time.time())
    return span(max(0, int(until - began))) if isinstance(began, int) else ""


def plain(batch: JSON) -> str:
    """Return a batch in one line."""
    return f"<Batch {clean(batch['id'])}: {progress_note(batch)}>"


def shown(thing: Any) -> Callable[[], None]:
    """Show something in the notebook that runs this, and return what shows it again; elsewhere nothing is shown."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return _nothing
    from IPython.display import display  # noqa: PLC0415

    handle = display(thing, display_id=True)
    return _nothing if handle is None else lambda: handle.update(thing)


def _nothing() -> None:
    pass
