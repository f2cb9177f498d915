"""What lanes can do, in words: the provider matrix of the README, and the lanes that `proxy-plugin check` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Cancels, InputMode, Revokes

HEAD = (
    "| provider | `provider:` | endpoints | lines a job | bytes a job | lost create is found by | price |",
    "|---|---|---|---|---|---|---|",
)
CALLED = (
    "Ordinary calls, one a line and at full price, are made at all of them but {without}: by litellm at {litellm}, by "
    "our own client at the others. Through litellm alone, with its own names of providers and parameters:"
)
TOLD = "What callers should know, as `POST /v1/batches/plan` tells it:"


def markdown() -> str:
    """Return the table, one row a provider of this tree, and behind it what callers should know of some."""
    names = sorted(catalog.BUILT_IN)
    told = [line for name in names for line in _told(name)]
    return "\n".join([*HEAD, *map(_row, names), "", *_calls(names), "", TOLD, "", *told])


def _calls(names: Sequence[str]) -> Iterator[str]:
    ways = {name: catalog.way_of_calls(name) for name in names}
    without, litellm = ([_title(name) for name in names if ways[name] == way] for way in (None, "litellm"))
    yield CALLED.format(without=" and ".join(without), litellm=", ".join(litellm))
    yield ""
    yield ", ".join(f"`{name}`" for name in sorted(catalog.litellms())) + "."


def _title(name: str) -> str:
    return catalog.load(name).capabilities.title


def described(name: str) -> Iterator[str]:
    """Yield what a lane can do in one line, and its caveats in one each."""
    lane = catalog.load(name)
    facts = lane.capabilities
    if facts.input_mode is InputMode.DIRECT:
        yield f"{facts.title}: direct, one call a line; {', '.join(sorted(facts.endpoints))}; 100 % of the list price"
        yield from facts.caveats
        return
    limits = f"{_number(facts.max_lines)} lines and {_number(facts.max_bytes)} bytes a job"
    limits = limits.replace("no limit known lines", "any number of lines").replace("no limit known bytes", "any bytes")
    yield (
        f"{facts.title}: {', '.join(sorted(facts.endpoints))}; {limits}; {_price(lane)} of the list price; "
        f"a lost create is found by {_found(lane)}"
    )
    yield from facts.caveats


def _row(name: str) -> str:
    lane = catalog.load(name)
    facts = lane.capabilities
    endpoints = ", ".join(sorted(f"`{path}`" for path in facts.endpoints))
    names = ", ".join(f"`{each}`" for each in (name, *catalog.aliases(name)))
    cells = [facts.title, names, endpoints, _number(facts.max_lines), _number(facts.max_bytes)]
    cells += [_found(lane), _price(lane) + ("" if isinstance(lane, Cancels) else " (no cancel)")]
    return f"| {' | '.join(cells)} |"


def _told(name: str) -> Iterator[str]:
    facts = catalog.load(name).capabilities
    if facts.caveats:
        yield f"- {facts.title}: {' '.join(facts.caveats)}"


def _found(lane: BatchProvider) -> str:
    return lane.capabilities.found_by + (", revocable" if isinstance(lane, Revokes) else "")


def _price(lane: BatchProvider) -> str:
    return f"{1 - lane.capabilities.discount:.0%}".replace("%", " %")


def _number(limit: int | None) -> str:
    return "no limit known" if limit is None else f"{limit:,}"
