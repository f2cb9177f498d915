"""What fails a whole batch before anything of it is sent, as entries of its `errors`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy_plugin.lines.scan import MAX_FAULTS, Facts, Fault, endpoint_faults
from proxy_plugin.lines.ways import half, way_of
from proxy_plugin.providers.base import Capabilities, InputMode
from proxy_plugin.routing.endpoints import served
from proxy_plugin.routing.route import Route


def file_faults(facts: Facts | None, endpoint: str, route: Route) -> list[Fault]:
    """Return what fails every batch of a scanned file for this endpoint and route: the first 100 faults by line.

    `facts` are what the scan found, None where it could not read the file.
    """
    if facts is None:
        return [Fault("unreadable_file", "The file could not be read; upload it again.", None, None)]
    found = [*lane_faults(endpoint, route), *facts.faults, *endpoint_faults(facts, *served(endpoint))]
    if found:
        found += facts.beside
    return sorted(found, key=lambda fault: fault.line or 0)[:MAX_FAULTS]


def lane_faults(endpoint: str, route: Route) -> list[Fault]:
    """Return the fault of a batch for which no target has a lane; where one has, the lines of the others tell it."""
    endpoints, lanes = served(endpoint), _lanes(route)
    if not lanes or any(not lane.endpoints.isdisjoint(endpoints) for lane in lanes):
        return []
    known = ", ".join(sorted(lanes[0].endpoints))
    calls = "ordinary calls of" if lanes[0].input_mode is InputMode.DIRECT else "batch lane for"
    text = f"{lanes[0].title} has no {calls} {endpoint}; it has {known}."
    return [Fault("unsupported_endpoint", text, "endpoint", None)]


def errors_text(faults: Iterable[Fault]) -> str:
    """Return the `errors` of a batch that failed, as JSON."""
    data = [{"code": f.code, "message": f.message, "param": f.param, "line": f.line} for f in faults]
    kept = [{name: value for name, value in entry.items() if value is not None} for entry in data]
    return msgspec.json.encode({"object": "list", "data": kept}).decode()


def _lanes(route: Route) -> list[Capabilities]:
    names = dict.fromkeys((target.provider, way_of(target)) for target in route.targets)
    return [half(*name).capabilities for name in names]
