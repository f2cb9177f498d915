"""The tables of legal steps, walked pair by pair, and what they promise together."""

from __future__ import annotations

import itertools

import pytest

from proxy_plugin.storage import states

PAIRS = [
    (kind, state, new) for kind, table in states.TABLES.items() for state, new in itertools.product(table, repeat=2)
]


@pytest.mark.parametrize(("kind", "state", "new"), PAIRS)
def test_every_pair_is_decided_by_the_table(kind: str, state: str, new: str) -> None:
    if new in states.TABLES[kind][state]:
        states.check(kind, state, new)
    else:
        with pytest.raises(states.IllegalStep):
            states.check(kind, state, new)


@pytest.mark.parametrize("kind", states.TABLES)
def test_every_state_can_reach_an_end(kind: str) -> None:
    table = states.TABLES[kind]
    ends = {state for state, after in table.items() if not after}
    for start in table:
        seen, todo = set(), [start]
        while todo:
            state = todo.pop()
            seen.add(state)
            todo.extend(table[state] - seen)
        assert seen & ends, f"{kind} {start} is a dead end that is no end"


def test_an_unknown_outcome_never_leads_straight_to_another_send() -> None:
    assert states.SUBMISSION["unknown"] == {"accepted", "absent", "refused"}
    assert "sent" not in set().union(*(states.SUBMISSION[state] for state in states.SUBMISSION if state != "intent"))


def test_ended_there_and_collected_here_are_two_facts() -> None:
    assert states.PART["running"].isdisjoint({"stored", "collected"})
    assert states.PART["ended"] == {"stored", "rescuing", "refused"}
    assert states.PART["stored"] == {"collected", "rescuing", "ended"}, "results that are too few are looked for again"


def test_lines_go_on_only_from_parts_of_which_nothing_runs_and_such_a_part_is_not_sent_again() -> None:
    before = {state for state, after in states.PART.items() if "rescuing" in after}
    assert before == {"planned", "answering", "staging", "creating", "running", "ended", "stored", "cutting"}
    assert states.PART["rescuing"] == {"collected", "refused"}


def test_a_batch_that_ran_is_merged_before_it_ends() -> None:
    assert states.BATCH["running"] == {"merging"}


@pytest.mark.parametrize(
    ("state", "cancelling", "word"),
    [
        ("validating", False, "validating"),
        ("splitting", False, "validating"),
        ("running", False, "in_progress"),
        ("merging", False, "finalizing"),
        ("validating", True, "cancelling"),
        ("running", True, "cancelling"),
        ("merging", True, "cancelling"),
        ("completed", True, "completed"),
        ("cancelled", True, "cancelled"),
        ("failed", False, "failed"),
        ("expired", False, "expired"),
    ],
)
def test_public_status(state: str, cancelling: bool, word: str) -> None:
    assert states.public_status(state, cancelling=cancelling) == word
