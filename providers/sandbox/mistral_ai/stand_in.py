"""What others must know of Mistral's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="mistral-ai",
    dialect="proxy_plugin.providers.sandbox.mistral_ai.dialect:Mistral",
    models=("mistral-small-latest", "mistral-medium-latest"),
    jobs="batch/jobs",
    newest="?order_by=-created&page_size=1",
    uploads="files",
    judges="files.create",
    results="files.content",
    ended="completed",
    free=("files.create", "files.content", "batches.retrieve", "batches.list", "files.retrieve"),
    doubted=("files.list", "files.delete"),
    late=("results_late",),
    counters=("succeeded_requests", "failed_requests"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    answers="digest",
    unlike=dict.fromkeys(
        (
            "test_answers_that_a_cancelled_job_counts_and_leaves_out_are_missing",
            "test_answers_that_a_job_counts_and_leaves_out_at_the_deadline_are_missing",
            "test_answers_that_an_expired_job_counts_and_leaves_out_are_missing",
            "test_what_a_job_that_somebody_else_cancelled_leaves_out_is_missing",
        ),
        "what did not run has no row of its own, so that it cannot be told from what was left out",
    ),
    lacks={
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": "without its file a late create is a 404",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no job fails for lack of quota",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "an unknown model refuses the create",
    },
)
