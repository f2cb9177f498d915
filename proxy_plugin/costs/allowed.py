"""What a key of LiteLLM's, and its team, may still spend and have enqueued: pure.

LiteLLM refuses a call where `spend >= max_budget`, and a batch where the tokens of its open batches and its own are
more than `batch_enqueued_token_limit` (litellm 1.110.2, `proxy/auth/auth_checks.py`, `proxy/hooks/
batch_enqueued_tokens.py`). A batch is not one small call: its own estimate counts too, and what batches cost that
LiteLLM has not been told of yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LIMIT = "batch_enqueued_token_limit"
TOO_MANY_TOKENS, TOO_DEAR = "token_limit_exceeded", "budget_exceeded"


class SetAside(NamedTuple):
    """What other batches of the same key or team hold: open ones, their tokens, and US dollars not yet reported."""

    batches: int = 0
    tokens: int = 0
    cost: float = 0.0


class Purse(NamedTuple):
    """The limits of one key or team. `who` is how people call it; `spent` and `budget` are US dollars. None: no limit.

    `tokens` is how many may be enqueued.
    """

    who: str
    spent: float = 0.0
    budget: float | None = None
    tokens: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything to check."""
        return self.budget is not None or self.tokens is not None


class Need(NamedTuple):
    """What a batch is estimated to take. `cost` is in US dollars; None: no price is known.

    `unlimited` lines set no limit on their answers, which `tokens` and `cost` then leave out.
    """

    tokens: int = 0
    cost: float | None = None
    unlimited: int = 0


def token_limit(metadata: Mapping[str, Any]) -> int | None:
    """Return the limit of enqueued tokens in LiteLLM's metadata, None if there is none that LiteLLM would keep."""
    found = metadata.get(LIMIT)
    if isinstance(found, str) and found.strip().isdecimal():  # pydantic, which LiteLLM reads it with, takes it
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def refusals(purse: Purse, held: SetAside, need: Need) -> Iterator[tuple[str, str]]:
    """Yield (code, message) of each limit that the batch does not keep, with the numbers."""
    if purse.tokens is not None and held.tokens + need.tokens > purse.tokens:
        yield TOO_MANY_TOKENS, _too_many_tokens(purse, held, need)
    cost = need.cost or 0.0
    if purse.budget is not None and (
        purse.spent + held.cost >= purse.budget or purse.spent + held.cost + cost > purse.budget
    ):
        yield TOO_DEAR, _too_dear(purse, held, need)


def _too_many_tokens(purse: Purse, held: SetAside, need: Need) -> str:
    return (
        f"Enqueued token limit reached for {purse.who}. Limit: {purse.tokens:,} enqueued tokens ({LIMIT});"
        f" {held.tokens:,} are enqueued in {held.batches} open batches, and this batch is estimated to need"
        f" {need.tokens:,}{_left_out(need)}. Please try again once some in_progress batches have been completed."
    )


def _too_dear(purse: Purse, held: SetAside, need: Need) -> str:
    this = "no price is known for this batch"
    if need.cost is not None:
        this = f"this batch is estimated at {_usd(need.cost)}{_left_out(need)}"
    return (
        f"Budget has been exceeded for {purse.who}. Max budget: {_usd(purse.budget or 0.0)}; {_usd(purse.spent)} are"
        f" spent, {_usd(held.cost)} are set aside for other batches, and {this}. Nothing was sent."
    )


def _left_out(need: Need) -> str:
    return f" (without the answers to {need.unlimited:,} lines that set no limit)" if need.unlimited else ""


def _usd(amount: float) -> str:
    whole, _, rest = f"{amount:,.6f}".partition(".")
    return f"${whole}.{rest[:2]}{rest[2:].rstrip('0')}"
