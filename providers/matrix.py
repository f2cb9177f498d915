"""The provider matrix of the README, made from the capability records."""

from __future__ import annotations

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Cancels, Capabilities, Revokes

HEAD = (
    "| provider | `provider:` | endpoints | lines a job | bytes a job | lost create is found by | price |",
    "|---|---|---|---|---|---|---|",
)


def markdown() -> str:
    """Return the table, one row a provider of this tree."""
    return "\n".join([*HEAD, *(_row(name) for name in sorted(catalog.BUILT_IN))])


def _row(name: str) -> str:
    lane = catalog.load(name)
    facts: Capabilities = lane.capabilities
    endpoints = ", ".join(sorted(f"`{path}`" for path in facts.endpoints))
    found = getattr(facts, "found_by", "") or (
        "our mark in its list" if facts.accepts_label else "marks in its results"
    )
    found += ", revocable" if isinstance(lane, Revokes) else ""
    names = ", ".join(f"`{each}`" for each in (name, *catalog.aliases(name)))
    cells = [facts.title, names, endpoints, _number(facts.max_lines), _number(facts.max_bytes), found]
    price = f"{1 - facts.discount:.0%}".replace("%", " %")
    cells.append(price + ("" if isinstance(lane, Cancels) else " (no cancel)"))
    return f"| {' | '.join(cells)} |"


def _number(limit: int | None) -> str:
    return "no limit known" if limit is None else f"{limit:,}"
