"""A plan as its caller sees it. What is absent is left out, but for what an error of a batch has as null."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from proxy_plugin.lines.choosing.worst_case import FurtherTarget, Prospects
from proxy_plugin.lines.plan_count import MAX_NAMED, Figures, TargetFigures
from proxy_plugin.lines.plan_tokens import PRICED
from proxy_plugin.lines.scan import Facts, Fault
from proxy_plugin.lines.ways import DIRECT, half
from proxy_plugin.routing.endpoints import served

_MODELS_NAMED = 10
_CENTS = 10  # digits of a dollar: one token of the cheapest model costs more


class Found(NamedTuple):
    """What is known of a file: `faults` would fail the batch; `figures` None: nothing of it could be split."""

    endpoint: str
    facts: Facts | None
    faults: tuple[Fault, ...]
    figures: Figures | None


def plan_object(found: Found) -> dict[str, Any]:
    """Return the JSON of a plan.

    `valid` lines would be sent and `rejected` ones not; `cached` ones of the valid have a kept answer and cost nothing.
    `would_fail` says that the batch would fail as a whole and nothing would be sent. `errors` holds what is wrong with
    the file, at most 100 entries, and at most 1,000 lines that no target can have; `refused` counts those by code and
    parameter, all of them, and a line with several parameters that are refused at each. `warnings` are about lines that
    would be sent, by code and model. `rescue` tells where lines that fail would go on, and `worst_case_cost` what it
    costs if every line fails wherever it is paid.
    """
    figures = found.figures
    targets = figures.targets if figures else ()
    prospects = figures.prospects if figures else None
    costs = [target.cost for target in targets if target.cost is not None]
    cached = figures.cached if figures else None
    costs += [0.0] if cached and not targets else []  # nothing is asked for, so nothing is paid
    return _present(
        object="batch.plan",
        endpoint=found.endpoint,
        would_fail=bool(found.faults) or (figures is not None and figures.fatal),
        request_counts=_counts(found),
        errors=_errors(found),
        refused=[_present(code=c, param=p, lines=n) for c, p, n in figures.refusals] if figures else [],
        dropped=[{"param": name, "lines": lines} for name, lines in figures.dropped] if figures else [],
        warnings=[msgspec.structs.asdict(each) for each in figures.warnings] if figures else [],
        targets=[_target(target) for target in targets],
        jobs=figures.jobs if figures else 0,
        cached=cached,
        estimated_cost=round(sum(costs), _CENTS) if costs else None,
        rescue=_rescue(prospects) if prospects else None,
        worst_case_cost=round(sum(costs) + _further_cost(prospects), _CENTS) if prospects and costs else None,
        caveats=list(_caveats(found)),
    )


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _counts(found: Found) -> dict[str, int]:
    total = found.facts.lines if found.facts else 0
    figures = found.figures
    valid = max(0, figures.placed + (figures.cached or 0) - _unlisted(found)) if figures else 0
    return {"total": total, "valid": valid, "rejected": total - valid}


def _unlisted(found: Found) -> int:
    """Return how many lines were planned although they repeat a custom_id: those behind the first 100 faults."""
    assert found.facts is not None
    listed = sum(fault.code == "duplicate_custom_id" for fault in found.facts.faults)
    return found.facts.repeated - listed


def _errors(found: Found) -> dict[str, Any]:
    lines = found.figures.refused_lines if found.figures else ()
    whole = found.figures.too_many if found.figures else ()
    data = sorted([*found.faults, *whole, *lines], key=lambda fault: fault.line or 0)
    shown = [{"code": f.code, "message": f.message, "param": f.param, "line": f.line} for f in data]
    truncated = _faults(found) > len(found.faults) or (found.figures is not None and found.figures.refused > len(lines))
    return {"object": "list", "data": shown} | ({"truncated": True} if truncated else {})


def _faults(found: Found) -> int:
    """Return how many faults of the file there are in all."""
    if found.facts is None:
        return len(found.faults)
    whole = sum(fault.line is None for fault in found.faults) - sum(fault.line is None for fault in found.facts.faults)
    urls = served(found.endpoint)
    wrong = sum(entry.count for url, entry in found.facts.urls.items() if url not in urls)
    return whole + found.facts.fault_count + wrong + found.facts.other_urls.count


def _target(target: TargetFigures) -> dict[str, Any]:
    return _present(
        virtual_key=target.slug,
        provider=target.provider,
        model=target.model,
        endpoint=target.endpoint,
        lines=target.lines,
        way=target.way if target.way == DIRECT else None,
        jobs=target.jobs,
        requests=target.requests if target.requests > target.lines else None,
        bytes=target.bytes,
        estimated_usage={"input_tokens": target.input_tokens, "output_tokens": target.output_tokens},
        estimated_cost=None if target.cost is None else round(target.cost, _CENTS),
    )


def _rescue(prospects: Prospects) -> dict[str, Any]:
    """Return where failed lines go on: `targets` in their order, with how many lines could come there at worst."""
    return _present(
        attempts=prospects.attempts,
        direct_before=prospects.direct_before,
        targets=[_further(target) for target in prospects.targets],
    )


def _further(target: FurtherTarget) -> dict[str, Any]:
    return _present(
        virtual_key=target.slug,
        provider=target.provider,
        model=target.model,
        endpoint=target.endpoint,
        way=target.way,
        lines=target.lines,
        estimated_cost=None if target.cost is None else round(target.cost, _CENTS),
    )


def _further_cost(prospects: Prospects) -> float:
    return sum(target.cost for target in prospects.targets if target.cost is not None)


def _caveats(found: Found) -> Iterator[str]:
    """Yield what the figures do not say."""
    if found.faults:
        yield "A batch of this file would fail as a whole: 'errors' says why, and nothing would be sent."
    if found.figures is None:
        return
    if found.figures.strict:
        yield "The route is strict: one line that its target cannot have fails the whole batch; nothing would be sent."
    if found.figures.unroutable:
        yield "No line of the file has a target, so the batch would fail as a whole: 'errors' says why."
    if found.figures.too_many:
        yield "The file needs more jobs than a batch may have, so the batch would fail as a whole: 'errors' says why."
    if found.faults and found.figures.targets:
        yield "'targets' are those of the lines without fault, as if the others were taken out of the file."
    if unlisted := _unlisted(found):
        yield f"Among them are still {unlisted} lines that repeat the custom_id of an earlier one."
    if found.figures.unnamed:
        yield f"'refused' and 'dropped' name the first {MAX_NAMED} of their entries; there are more."
    if pictured := found.figures.pictured:
        yield (
            f"{pictured} lines name pictures that a batch fetches and a plan does not: their bytes are in no figure,"
            " and a line whose picture cannot be fetched or is too large will be rejected."
        )
    yield from _estimate_caveats(found.figures)
    yield from _calls_caveats(found.figures.targets)
    yield from _prospect_caveats(found.figures.prospects)
    further = found.figures.prospects.targets if found.figures.prospects else ()
    named = [(each.provider, each.way) for each in found.figures.targets]
    for provider, way in dict.fromkeys([*named, *((each.provider, each.way) for each in further)]):
        lane = half(provider, way).capabilities
        yield from (f"{lane.title}: {caveat}" for caveat in lane.caveats)


def _calls_caveats(targets: Iterable[TargetFigures]) -> Iterator[str]:
    if calls := sum(target.lines for target in targets if target.way == DIRECT):
        yield (
            f"{calls} lines are answered by ordinary calls, one a line, at full price: no batch discount. A crash of"
            " the gateway repeats at most the calls that run at the moment (direct_limits.concurrency of the virtual"
            " key); a call whose reply is lost is made once more, and either may have been paid for."
        )


def _prospect_caveats(prospects: Prospects | None) -> Iterator[str]:
    if prospects is None:
        return
    often = "once" if prospects.attempts == 1 else f"{prospects.attempts} times"
    yield (
        f"A line that has failed when its job has ended is asked again, at most {often} ('rescue'): estimated_cost is"
        " without that, in worst_case_cost every line is paid wherever it could come."
    )
    if prospects.direct_before is not None:
        yield (
            f"From {prospects.direct_before:g} seconds before the end of the window on, lines go on by ordinary calls"
            " to targets that may be called, and jobs that still run are cancelled; what these have answered is paid."
        )
    if any(target.way == DIRECT for target in prospects.targets):
        yield (
            "Ordinary calls cost the full price, without the discount of a batch. If the gateway dies, at most those"
            " that were under way are made once more."
        )


def _estimate_caveats(figures: Figures) -> Iterator[str]:
    targets = figures.targets
    if not targets:
        return
    if (requests := sum(each.requests for each in targets)) > sum(each.lines for each in targets):
        yield (
            f"Fanned out, the lines are {requests} requests: of a line that asks for several answers each is asked for,"
            " and paid with its prompt, by itself."
        )
    yield "Tokens are estimated by the length of the texts: 4 ASCII characters, or one other character, count as one."
    if unlimited := sum(target.unlimited for target in targets):
        yield (
            f"{unlimited} lines set no limit on their answers (max_completion_tokens, max_tokens): neither their output"
            " tokens nor what these cost are in the estimate."
        )
    if media := sum(target.media for target in targets):
        yield f"{media} lines hold images, audio or files, whose tokens are not in the estimate."
    further = figures.prospects.targets if figures.prospects else ()
    told = [(each.endpoint, each.model) for each in targets if each.cost is None]
    told += [(each.endpoint, each.model) for each in further if each.cost is None]
    if named := dict.fromkeys(model for endpoint, model in told if endpoint in PRICED and model is not None):
        more = f" and {len(named) - _MODELS_NAMED} more" if len(named) > _MODELS_NAMED else ""
        yield f"No price is known for {', '.join([*named][:_MODELS_NAMED])}{more}; the cost of their lines is missing."
    if any(target.model is None for target in targets):
        yield f"Targets beyond the first {MAX_NAMED} are shown by account, without model; their cost is missing."
    if any(target.endpoint not in PRICED for target in targets):
        yield "Images and videos are not priced by the token; the cost of their lines is missing."
