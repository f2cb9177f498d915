"""What others must know of xAI's stand-in."""

from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.stand_ins import StandIn, key_and_host


def _settings(url: str, key: str) -> Mapping[str, Any]:
    """The counters of a cancelled batch change for longer at xAI than here."""
    return {**key_and_host(url, key), "recount_seconds": 0.5}


STAND_IN = StandIn(
    provider="x-ai",
    dialect="proxy_plugin.providers.sandbox.x_ai.dialect:XAI",
    models=("grok-4.3", "grok-4.20"),
    settings=_settings,
    newest="",
    uploads="files",
    results="batches.results",
    stop=":cancel",
    late_cancel=400,
    free=("files.create", "batches.retrieve", "batches.results"),
    doubted=("batches.list", "files.retrieve", "files.list", "files.delete"),
    counters=("num_success", "num_error"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05, "recount_seconds": 0.1},
    answers="digest",
    unlike={
        "test_answers_that_an_expired_job_counts_and_leaves_out_are_missing": "only the calendar tells that it expired",
        "test_results_that_never_come_are_waited_for_an_hour_and_announced": "results are there when a job is over",
        "test_results_that_went_while_the_gateway_was_down": "results go with their batch, after 30 days",
        "test_a_late_reading_that_is_cut_is_not_the_last": "an error of a line has no status",
    },
    lacks={
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": "without its file a late create is a 404",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no job fails for lack of quota",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "a job that is refused tells no code",
        "test_a_wrong_provider_key_is_said_in_every_row": "a wrong key is a 400",
    },
)
