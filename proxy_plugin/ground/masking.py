"""Secrets, hidden in texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from urllib.parse import quote

HIDDEN = "***"
REFERENCE = "os.environ/"  # a value that starts like this names an environment variable, as in LiteLLM
_WHOLE_WORD_BELOW = 8  # shorter secrets are hidden as whole words only, or "dev" would eat half of "device"
_SECRET_NAME = re.compile(
    r"api_?key$|secret|token$|passw|private_key|credential|authorization|service_account_json", re.IGNORECASE
)
_LOOKS_SECRET = (
    (re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\b([Bb]earer|BEARER|Basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bsk-[\w-]{8,}"), HIDDEN),
    (re.compile(r"(?<=://)[^/\s@?#]+@"), f"{HIDDEN}@"),
    (re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*"), f"?{HIDDEN}"),  # query strings: signed URLs, keys, user text
)


def _may_hold(text: str) -> bool:
    """Whether a text has a sign of any of these, as few of a log have: 0.2 us, the patterns take 4 [measured]."""
    marked = "?" in text or "sk-" in text or "://" in text or "-----BEGIN" in text
    return marked or "earer" in text or "EARER" in text or "Basic" in text


def mask(text: str) -> str:
    """Hide what has the form of a credential: bearer tokens, `sk-` keys, PEM keys, URL passwords, query strings."""
    if not _may_hold(text):
        return text
    for pattern, instead in _LOOKS_SECRET:
        text = pattern.sub(instead, text)
    return text


class Masker:
    """Hides the secrets it was made with, in any text, whether written plainly, JSON-escaped or percent-encoded."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)  # a secret that holds another one is hidden whole
        self._known = re.compile("|".join(map(_alternative, ordered))) if ordered else None

    def knows(self, text: str) -> bool:
        """Tell whether a known secret stands in the text."""
        return self._known is not None and self._known.search(text) is not None

    def mask(self, text: str) -> str:
        """Return the text without the known secrets and without what looks like one."""
        return mask(self._known.sub(HIDDEN, text) if self._known else text)


def _alternative(secret: str) -> str:
    whole_word = len(secret) < _WHOLE_WORD_BELOW
    return rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])" if whole_word else re.escape(secret)


def _forms(secret: str) -> Iterator[str]:
    for part in (secret, *_inside_json(secret)):
        stripped = part.strip()
        if stripped:
            yield stripped
            yield json.dumps(stripped)[1:-1]
            yield quote(stripped, safe="", errors="replace")


def _inside_json(secret: str) -> Iterator[str]:
    """A service account is a JSON text: its private key can leak without the rest."""
    if not secret.lstrip().startswith("{"):
        return
    try:
        document = json.loads(secret)
    except ValueError:
        return
    yield from secrets_in(document)


def secrets_in(value: object, name: str = "") -> Iterator[str]:
    """Yield every `SecretStr` reachable in models, dataclasses and containers, and every text with a secret's name.

    The second kind is for what is kept as written: saved configs and LiteLLM's model list.
    """
    from pydantic import SecretStr  # noqa: PLC0415 - workers mask texts too, and go without it

    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        if _SECRET_NAME.search(name) and not value.startswith(REFERENCE):
            yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from secrets_in(item, name)
    else:
        for key, item in _members(value):
            yield from secrets_in(item, key)


def _members(value: object) -> Iterator[tuple[str, object]]:
    from pydantic import BaseModel  # noqa: PLC0415

    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, BaseModel):
        yield from value
    elif is_dataclass(value):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))
