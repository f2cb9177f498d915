"""`include` of a configuration file, as LiteLLM merges it (1.106.2, `proxy/common_utils/config_includes.py`).

Lists go on behind those of the file that includes, everything else replaces what it has there. Files are named from the
folder of the file that names them, or from that of the first one; none is read twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxy_plugin.config.yaml_document import read_yaml
from proxy_plugin.ground.errors import ConfigError

INCLUDE = "include"


def read_included(path: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Return a file with all that it includes, and the files that were read. Raises ConfigError."""
    merged = read_yaml(path)
    files = [path.absolute()]
    waiting = _entries(merged, files[0])
    merged.pop(INCLUDE, None)
    while waiting:
        found = _resolved(*waiting.pop(0), files[0])
        if found not in files:
            files.append(found)
            included = read_yaml(found)
            waiting += _entries(included, found)
            included.pop(INCLUDE, None)
            merged |= {name: _merged(merged.get(name), value) for name, value in included.items()}
    return merged, tuple(files)


def _merged(before: object, value: object) -> object:
    return [*before, *value] if isinstance(before, list) and isinstance(value, list) else value


def _entries(document: dict[str, Any], declared: Path) -> list[tuple[str, Path]]:
    entries = document.get(INCLUDE, [])
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise ConfigError(f"{declared}: {INCLUDE}: must be a list of file names")
    return [(each, declared) for each in entries]


def _resolved(entry: str, declared: Path, first: Path) -> Path:
    beside, root = ((each.parent / entry).resolve() for each in (declared, first))
    return root if root.exists() and not beside.exists() else beside
