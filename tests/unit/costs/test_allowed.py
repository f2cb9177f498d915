"""What a key of LiteLLM's may still spend and have enqueued."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.costs.allowed import Need, Purse, SetAside, refusals, token_limit

MONEY = st.floats(0, 1e6, allow_nan=False)
TOKENS = st.integers(0, 10**9)


def codes(purse: Purse, held: SetAside, need: Need) -> list[str]:
    return [code for code, _ in refusals(purse, held, need)]


@given(MONEY, MONEY, MONEY, MONEY)
def test_a_budget_is_kept_to_the_cent(spent: float, held: float, cost: float, budget: float) -> None:
    """LiteLLM refuses what comes when all is spent, even if it costs nothing."""
    found = codes(Purse("key a", spent, budget), SetAside(1, 0, held), Need(10, cost))
    assert (found == ["budget_exceeded"]) == (spent + held >= budget or spent + held + cost > budget)


@given(TOKENS, TOKENS, st.integers(1, 10**9))
def test_a_limit_of_tokens_may_be_reached_and_not_passed(held: int, need: int, limit: int) -> None:
    found = codes(Purse("key a", tokens=limit), SetAside(1, held), Need(need))
    assert (found == ["token_limit_exceeded"]) == (held + need > limit)


@given(MONEY, MONEY, TOKENS, TOKENS)
def test_without_limits_everything_is_allowed(spent: float, held: float, enqueued: int, tokens: int) -> None:
    assert codes(Purse("key a", spent), SetAside(3, enqueued, held), Need(tokens, spent)) == []
    assert not Purse("key a", spent).limited


def test_the_numbers_are_told() -> None:
    purse = Purse("key alice", 9.25, 10.0, 90_000)
    found = dict(refusals(purse, SetAside(2, 60_000, 0.5), Need(45_000, 0.75, unlimited=3)))
    assert found["token_limit_exceeded"] == (
        "Enqueued token limit reached for key alice. Limit: 90,000 enqueued tokens (batch_enqueued_token_limit); 60,000"
        " are enqueued in 2 open batches, and this batch is estimated to need 45,000 (without the answers to 3 lines"
        " that set no limit). Please try again once some in_progress batches have been completed."
    )
    assert found["budget_exceeded"] == (
        "Budget has been exceeded for key alice. Max budget: $10.00; $9.25 are spent, $0.50 are set aside for other"
        " batches, and this batch is estimated at $0.75 (without the answers to 3 lines that set no limit). Nothing was"
        " sent."
    )


def test_what_has_no_price_is_refused_only_when_all_is_spent() -> None:
    assert codes(Purse("key a", 0.0, 1.0), SetAside(), Need(10, None)) == []
    [(_, text)] = refusals(Purse("key a", 1.0, 1.0), SetAside(), Need(10, None))
    assert "no price is known for this batch" in text


@pytest.mark.parametrize(
    ("said", "limit"),
    [(5, 5), ("5", 5), (5.0, 5), (0, None), (-1, None), (True, None), ("many", None), (None, None), (5.5, None)],
)
def test_a_limit_is_read_as_litellm_reads_it(said: object, limit: int | None) -> None:
    assert token_limit({"batch_enqueued_token_limit": said}) == limit
