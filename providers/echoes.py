"""Secrets of an account in what its provider says: whole, or in part from any eight characters on.

Providers echo keys cut, starred out in the middle, without their prefix, or inside the request that they complain of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = b"[credential]"
WINDOW = 8  # characters of a secret that are told from chance
_KEY_TEXT = re.compile(rb"[A-Za-z0-9_.~+/=-]{%d}" % WINDOW)
_WORDS = re.compile(rb"[a-z_-]+|[A-Z_-]+|[0-9]+|(.)\1+")  # such parts are no secret by themselves
_REST = re.compile(rb"[^\s\"'\\<>]*")


class Echoes:
    """Hides some secrets in texts. Secrets of up to eight characters are hidden as whole words."""

    __slots__ = ("_short", "_windows")

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret.encode("utf-8", "surrogatepass") for secret in secrets if secret}
        self._windows = {each for secret in found if len(secret) > WINDOW for each in _windows(secret)}
        short = sorted((each for each in found if len(each) <= WINDOW), key=len, reverse=True)
        words = b"|".join(map(re.escape, short))
        self._short = re.compile(rb"(?<![A-Za-z0-9])(?:" + words + rb")(?![A-Za-z0-9])") if short else None

    def hide(self, text: bytes) -> bytes:
        """Return a text, UTF-8 or JSON in UTF-8, without them. Linear in its length."""
        parts, done, at = list[bytes](), 0, 0
        windows, last = self._windows, len(text) - WINDOW
        while windows and at <= last:
            if text[at : at + WINDOW] not in windows:
                at += 1
                continue
            parts += (text[done:at], HIDDEN)
            rest = _REST.match(text, at)
            done = at = rest.end() if rest else at + WINDOW
        text = b"".join([*parts, text[done:]]) if parts else text
        return self._short.sub(HIDDEN, text) if self._short else text


def _windows(secret: bytes) -> Iterable[bytes]:
    yield secret[:WINDOW]
    for start in range(1, len(secret) - WINDOW + 1):
        window = secret[start : start + WINDOW]
        if _KEY_TEXT.fullmatch(window) and not _WORDS.fullmatch(window):
            yield window
