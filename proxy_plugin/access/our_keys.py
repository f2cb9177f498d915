"""Finds keys of this gateway in what is to be passed on: in any header, in a cookie, a query, a sub-protocol.

A key that is configured as its SHA-256 alone is found where it stands by itself; a clear one inside other text, too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from multidict import CIMultiDict, MultiMapping

from proxy_plugin.config import ApiKey
from proxy_plugin.ground.fingerprints import digest
from proxy_plugin.ground.masking import Masker

_BETWEEN = re.compile(r"[\s,;=&:\"'<>()\[\]{}|]+")
_BASIC = re.compile(r"basic\s+([A-Za-z0-9+/=_-]+)", re.IGNORECASE)
_IN_BROWSERS = "openai-insecure-api-key."  # before the key in the sub-protocols of OpenAI's realtime clients
_LISTS = {"cookie": ";", "sec-websocket-protocol": ","}  # of these headers the other entries go on


class OurKeys:
    """The keys of one configuration."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        entries = tuple(keys)
        self._digests = {entry.digest() for entry in entries}
        self._clear = Masker(entry.key.get_secret_value() for entry in entries if entry.key is not None)

    def within(self, text: str) -> bool:
        """Tell whether a key of ours stands in a text, also percent-encoded or in Base64 as of a user's password."""
        if not self._digests:
            return False
        wholes = {text, unquote(text), *map(_decoded, _BASIC.findall(text))}
        return any(map(self._clear.knows, wholes)) or any(digest(part) in self._digests for part in {*_parts(wholes)})

    def without(self, headers: MultiMapping[str]) -> CIMultiDict[str]:
        """Return the headers without those that hold a key; of cookies and sub-protocols without these entries."""
        kept = CIMultiDict[str]()
        for name, value in headers.items():
            if not self.within(value):
                kept.add(name, value)
            elif rest := self._others(name, value):
                kept.add(name, rest)
        return kept

    def _others(self, name: str, value: str) -> str:
        sign = _LISTS.get(name.lower())
        entries = [] if sign is None else [each.strip() for each in value.split(sign)]
        return f"{sign} ".join(each for each in entries if not self.within(each))

    def without_in_query(self, target: str) -> str:
        """Return a request target, path and query, without the parameters that hold a key."""
        path, mark, query = target.partition("?")
        if not mark or not self.within(query):
            return target
        rest = "&".join(each for each in query.split("&") if not self.within(each))
        return f"{path}?{rest}" if rest else path


def _parts(wholes: Iterable[str]) -> Iterator[str]:
    """Yield what could be a key by itself."""
    for whole in wholes:
        yield whole.strip()
        for part in _BETWEEN.split(whole):
            if part:
                yield part
                yield part.removeprefix(_IN_BROWSERS)


def _decoded(encoded: str) -> str:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_").decode(errors="replace")
    except ValueError:
        return ""
