"""What others must know of Voyage's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="voyage",
    dialect="proxy_plugin.providers.sandbox.voyage.dialect:Voyage",
    models=("voyage-3.5", "voyage-3.5-lite"),
    endpoint="/v1/embeddings",
    newest="",
    uploads="files",
    results="files.content",
    late_cancel=400,
    free=("files.create", "files.content", "batches.retrieve", "files.retrieve"),
    doubted=("batches.list", "files.list", "files.delete"),
    late=("results_late",),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    answers="digest",
    lacks={
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": "without its file a late create is a 404",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no job fails for lack of quota",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "an unknown model refuses the create",
    },
)
