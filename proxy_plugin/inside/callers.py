"""Who calls, as LiteLLM tells in its own process: keys, tokens and custom authentication count as on its own routes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any

from proxy_plugin.inside.facts import SocketFacts
from proxy_plugin.inside.words import IDENTITY, PREFIX, SECRET

Head = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Ask = Callable[[Scope, Mapping[str, str | None]], Awaitable[Any]]
PORTKEY = b"x-portkey-api-key"
PLACEHOLDER = "OPENAI_API_KEY"  # Portkey's Python SDK sends this literal text as its bearer token
# LiteLLM's names for what it takes keys from [user_api_key_auth, litellm 1.110.2], in its order.
PLACES = {
    b"x-litellm-api-key": "custom_litellm_key_header",
    b"authorization": "api_key",
    b"api-key": "azure_api_key_header",
    b"x-api-key": "anthropic_api_key_header",
    b"x-goog-api-key": "google_ai_studio_api_key_header",
    b"ocp-apim-subscription-key": "azure_apim_header",
}
NO_DATABASE = "no_db_connection"  # what LiteLLM without one says of every key but its master key, with a 400
OF_TEAM = "all-team-models"  # in the list of a key: that of its team, which bounds every key of it
METADATA = ("batch_enqueued_token_limit",)  # what of a key's and a team's metadata the gateway reads
_OF_BODIES = (b"content-length", b"content-type", b"transfer-encoding", b"content-encoding", b"expect")


async def head_for_gateway(scope: Scope, facts: SocketFacts, ask: Ask) -> Head:
    """Return a request's headers as the gateway is to have them, with who calls where that is no key of its own.

    Raises what LiteLLM raises for a key that it refuses.
    """
    head = nameless(scope)
    if any(facts.knows(key) for key in _own(head)):
        return head
    try:
        known = await ask(*_question(scope, head))
    except Exception as refusal:
        if getattr(refusal, "type", None) == NO_DATABASE:
            return head  # it knows its master key alone: the gateway says that this is none, with a 401
        raise
    used = next(_presented(head), None)
    rest = [(name, value) for name, value in head if name != PORTKEY and (used is None or _token(value) != used)]
    told = base64.b64encode(json.dumps(identity(known, used or "")).encode())
    return [*rest, (IDENTITY.encode(), told), (SECRET.encode(), facts.secret.encode())]


def nameless(scope: Scope) -> Head:
    """Return a request's headers without those that only we may set."""
    return [(name, value) for name, value in scope["headers"] if not name.startswith(PREFIX.encode())]


async def ask_litellm(scope: Scope, keys: Mapping[str, str | None]) -> Any:
    """Let LiteLLM say who calls. Raises what its own routes would answer, for its handlers of errors."""
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth  # noqa: PLC0415 - there only in its process
    from starlette.requests import Request  # noqa: PLC0415

    return await user_api_key_auth(Request(scope, _no_body), **keys)


def identity(known: Any, used: str) -> dict[str, Any]:
    """Return what the gateway is told of a key, with the names of `access/identity.py`. `used` is the key itself."""
    token = known.token or known.api_key or ""
    hashed = token if len(token) == 64 else hashlib.sha256((used or f"user:{known.user_id}").encode()).hexdigest()
    role = getattr(known.user_role, "value", known.user_role)
    return {
        "name": known.key_alias or f"litellm-{hashed[:8]}",
        "key_hash": hashed,
        "user_id": known.user_id,
        "team_id": known.team_id,
        "team_alias": known.team_alias,
        "models": [] if OF_TEAM in (known.models or ()) else _names(known.models),
        "within": [_names(known.team_models)],
        "spend": known.spend or 0.0,
        "max_budget": known.max_budget,
        "team_spend": known.team_spend,
        "team_max_budget": known.team_max_budget,
        "metadata": _settings(known.metadata),
        "team_metadata": _settings(known.team_metadata),
        "expires": known.expires.isoformat() if isinstance(known.expires, datetime) else known.expires,
        "blocked": bool(known.blocked),
        "admin": role == "proxy_admin",
    }


def _own(head: Head) -> Iterator[str]:
    """Yield what may be a key of the gateway's own, where it looks for one."""
    return (_token(value) for name, value in head if name in (PORTKEY, b"authorization"))


def _presented(head: Head) -> Iterator[str]:
    """Yield the keys of a request, that which counts first."""
    for place in (PORTKEY, *PLACES):
        for name, value in head:
            if name == place and (token := _token(value)) not in ("", PLACEHOLDER):
                yield token


def _question(scope: Scope, head: Head) -> tuple[Scope, dict[str, str | None]]:
    """Return the request without its body, and its keys: that of `x-portkey-api-key` in the place of all others."""
    portkey = next((_token(value) for name, value in head if name == PORTKEY), None)
    if portkey:
        head = [(name, value) for name, value in head if name not in PLACES]
        head.append((b"authorization", b"Bearer " + portkey.encode("latin-1", "replace")))
    found = {name: value.decode("latin-1") for name, value in reversed(head)}
    keys = {argument: found.get(name) for name, argument in PLACES.items()}
    keys["api_key"] = keys["api_key"] or ""
    return {**scope, "headers": [each for each in head if each[0] not in _OF_BODIES], "state": {}}, keys


def _token(value: bytes) -> str:
    text = value.decode("latin-1").strip()
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else text


def _names(models: Iterable[object] | None) -> list[str]:
    return [str(each) for each in models or ()]


def _settings(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: metadata[name] for name in METADATA if name in metadata} if metadata else {}


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
