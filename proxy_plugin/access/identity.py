"""Who a key of LiteLLM's is, as LiteLLM tells: its name, its team, what it may use and what it has spent."""

from __future__ import annotations

from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One key of LiteLLM's. Money is in US dollars, of the current budget period; None: not told, or no limit.

    `name` is the key's alias, or `litellm-` and 8 characters of its hash. `key_hash` is LiteLLM's name of the key, the
    hex SHA-256 of it. `models` are names and patterns of LiteLLM's; empty: all. `within` are lists that bound them
    further, those of its team or its user. `expires` is an ISO 8601 time. Of the metadata only settings that somebody
    here reads are kept, such as `batch_enqueued_token_limit`. `admin`: the master key, or the key of a proxy admin.
    """

    name: str
    key_hash: str
    user_id: str | None = None
    team_id: str | None = None
    team_alias: str | None = None
    models: tuple[str, ...] = ()
    within: tuple[tuple[str, ...], ...] = ()
    spend: float = 0.0
    max_budget: float | None = None
    team_spend: float | None = None
    team_max_budget: float | None = None
    metadata: dict[str, Any] = {}
    team_metadata: dict[str, Any] = {}
    expires: str | None = None
    blocked: bool = False
    admin: bool = False

    def __repr__(self) -> str:
        """Show the name alone."""
        return f"Identity({self.name})"
