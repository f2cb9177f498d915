"""Which tests of the contract the suite runs for which case; the campaign (`make contract`) runs all for all.

What the gateway alone decides need not be seen once a lane, and what an adapter decides not once for every vendor whose
API it serves. The cases that are `whole` have every test between them: there is one for each way in which a lost
create is found. What the gateway alone decides, and a test of many values, is run for one of these; others for two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from tests.support.drawing import drawn
from tests.whole.contract.cases import CASES, Case

GATEWAY = frozenset(
    {  # tests whose outcome no adapter has a say in
        "test_a_batch_cancelled_while_it_waits_for_room_is_never_sent",
        "test_a_batch_that_has_ended_cannot_be_cancelled",
        "test_a_create_that_an_sdk_repeats_is_one_batch_and_one_job_a_part",
        "test_a_create_without_a_known_key_sends_nothing",
        "test_a_deliberate_second_run_is_a_second_batch_with_other_marks",
        "test_a_model_that_the_virtual_key_does_not_allow_fails_its_own_lines_only",
        "test_an_idempotency_key_with_another_request_is_refused",
        "test_another_workspace_lists_and_uses_nothing_of_ours",
        "test_another_workspace_sees_nothing",
        "test_counts_that_cannot_be_are_not_believed",
        "test_no_job_has_more_bytes_than_max_bytes_per_job",
        "test_no_more_runs_at_once_than_is_admitted",
        "test_one_file_serves_several_batches",
        "test_one_idempotency_key_is_one_batch_and_one_job_a_part",
        "test_results_that_stay_empty_are_read_so_often_and_no_more",
    }
)
FACTS = frozenset(
    {  # tests of what stands in the record of a vendor that copies another's API
        "test_a_batch_ends_although_every_so_manieth_call_is_refused",
        "test_a_cancel_keeps_what_ran_and_says_of_the_rest_that_it_was_cancelled",
        "test_a_create_that_never_arrived_is_sent_again_after_the_settle_time_and_never_earlier",
        "test_a_create_whose_reply_is_lost_is_found_and_not_repeated",
        "test_a_job_may_be_over_before_its_results_are_there",
        "test_a_stranger_in_the_account_is_not_cancelled",
        "test_an_odd_answer_of_the_provider_is_still_one_row_a_line",
        "test_every_id_comes_back_once_in_input_order_with_its_own_answer",
        "test_no_job_has_more_lines_than_max_lines_per_job",
        "test_no_key_of_a_provider_is_told_or_stored",
    }
)
PATIENT = frozenset(
    {  # tests that wait as long as a provider asks, for seconds
        "test_a_cancel_does_not_make_a_call_come_before_its_time",
        "test_every_call_that_is_told_to_wait_waits_as_long_as_the_provider_asks",
    }
)
ALWAYS = frozenset(
    {
        "test_every_id_comes_back_once_in_input_order_with_its_own_answer",
        "test_a_create_whose_reply_is_lost_is_found_and_not_repeated",
    }
)
ONE_IN = 14  # of the others a case has; each case has others
# of a test with several values, the one for cases in part
FEW = {"n": 2, "offset": 0, "looks": 1, "status": 500, "moment": "lost"}


def in_suite(case: Case, test: str, values: Mapping[str, Any]) -> bool:
    """Tell whether the suite runs a test for a case with these values of its parameters."""
    if case.whole:
        return test in ALWAYS or case in _turns(test, values)
    if test in PATIENT or any(values.get(name, value) != value for name, value in FEW.items()):
        return False
    wanted = test in FACTS if case.stand_in.like else test not in GATEWAY
    return test in ALWAYS or (wanted and drawn(f"{case.name}: {test}", ONE_IN))


def _turns(test: str, values: Mapping[str, Any]) -> list[Case]:
    """Return the whole cases whose turn a test is, of those that do not lack it."""
    able = [each for each in CASES if each.whole and test not in each.reasons]
    own = sorted(f"{name}={value}" for name, value in values.items() if name not in ("case", "moment"))
    first = crc32(" ".join((test, *own)).encode())
    count = 1 if own or test in GATEWAY else 2
    return [able[(first + n) % len(able)] for n in range(min(count, len(able)))]
