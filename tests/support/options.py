"""Options of stand-ins that a test changes and other tests share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from proxy_plugin.providers.sandbox.process import Sandbox


@contextmanager
def as_they_were(sandbox: Sandbox, providers: Iterable[str]) -> Iterator[None]:
    """Put back the options that these stand-ins have now: a reset leaves them as a test has set them."""
    before = {each: sandbox.control.options(each) for each in providers}
    try:
        yield
    finally:
        for each, options in before.items():
            sandbox.control.options(each, **options)
