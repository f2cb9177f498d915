"""`--fields`: of an object only what is named; `request_counts.failed` lies deeper, `jobs.0.model` in a list."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_plugin.commands.wording import JSON


def picked(value: JSON, fields: Sequence[str]) -> JSON:
    """Return {field: its value, None where there is none}, in the order in which they were named."""
    return {field: _at(value, field.split(".")) for field in fields}


def _at(value: object, path: Sequence[str]) -> object:
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
