"""`os.environ/NAME`: values of the configuration that stand in the environment, and what is written instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy_plugin.ground.masking import REFERENCE

ABSENT = object()
# What a shell, Python or a template would read. A key of capitals behind a dollar sign is no provider's.
_MEANT = re.compile(
    r"\$\{\s*(?P<braces>\w+)[^}]*\}|\$(?P<bare>[A-Z_][A-Z0-9_]*)"
    r"|os\.(?:environ|getenv)\s*[.:(\[]\s*(?:get\()?['\"]?(?P<python>[A-Za-z_]\w*)['\")\]]*"
)
_AS_WRITTEN = re.compile(r"\.configs\.")  # below it texts are the caller's affair, but for keys
_KEY = re.compile(r"(?:key|secret|token)$", re.IGNORECASE)


def replaced(raw: object, path: str, environ: Mapping[str, str], missing: dict[str, str]) -> object:
    """Return a value with its references replaced, ABSENT for one whose variable `missing` is told of, by path."""
    if isinstance(raw, str) and raw.startswith(REFERENCE):
        name = raw.removeprefix(REFERENCE)
        text = environ.get(name, "").strip()  # a newline at the end of a mounted secret is never meant
        if not text:
            missing[path] = f"environment variable {name} is {'empty' if name in environ else 'not set'}"
        return text or ABSENT
    if isinstance(raw, Mapping):
        items = {key: replaced(item, f"{path}.{key}", environ, missing) for key, item in raw.items()}
        return {key: item for key, item in items.items() if item is not ABSENT}
    if isinstance(raw, list | tuple):
        values = [replaced(item, f"{path}.{index}", environ, missing) for index, item in enumerate(raw)]
        return [value for value in values if value is not ABSENT]
    return raw


def misspelt_keys(variables: object, path: str) -> Iterator[str]:
    """Yield the same for variables that a file sets, where their names tell that they hold keys."""
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        if _KEY.search(str(name)):
            yield from misspelt(value, f"{path}.{name}")


def misspelt(raw: object, path: str) -> Iterator[str]:
    """Yield a problem for each text that means a variable and would be taken for a value, by LiteLLM too."""
    if isinstance(raw, Mapping):
        for key, item in raw.items():
            yield from misspelt(item, f"{path}.{key}")
    elif isinstance(raw, list | tuple):
        for index, item in enumerate(raw):
            yield from misspelt(item, f"{path}.{index}")
    elif isinstance(raw, str) and (_KEY.search(path) or not _AS_WRITTEN.search(path)):
        meant = _MEANT.fullmatch(raw.strip())
        if meant is not None:
            name = meant["braces"] or meant["bare"] or meant["python"]
            yield f"{path}: is taken as it stands here, by LiteLLM too; for a variable write {REFERENCE}{name}"
