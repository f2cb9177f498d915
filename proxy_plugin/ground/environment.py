"""The environment of the process, from which workers take theirs: no secret stays in it once it has been read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

# By their names; what the configuration has read is known by its value.
_SECRET = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|AUTH)(?:_|$)|ACCESS_?KEY|SECRET|TOKEN(?:_|$)|PASSW(?:OR)?D|CREDENTIALS|PRIVATE_?KEY"
)
LEAST_KNOWN = 8  # characters of a secret by which a variable is known to hold it


def forget_secrets(known: Iterable[str] = ()) -> None:
    """Take variables away that look like secrets, or that hold one of the `known` ones."""
    held = {secret for secret in known if len(secret) >= LEAST_KNOWN}
    for name, value in list(os.environ.items()):
        if _SECRET.search(name.upper()) or any(secret in value for secret in held):
            del os.environ[name]


@contextmanager
def lent(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while. Nothing may start a process meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
