"""What others must know of Cohere's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="cohere",
    dialect="proxy_plugin.providers.sandbox.cohere.dialect:Cohere",
    models=("command-a-03-2025", "command-r-08-2024"),
    root="",
    jobs="v2/batches",
    newest="",
    uploads="v1/datasets",
    files="v1/datasets",
    results="store.get",
    late_cancel=400,
    free=("datasets.create", "datasets.retrieve", "store.get", "batches.retrieve"),
    doubted=("batches.list", "datasets.delete"),
    late=("results_late",),
    rests=False,
    counters=("num_successful_records", "num_failed_records"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "finalize_seconds": 0.02, "cancel_seconds": 0.05},
    lacks={
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": "a create without its dataset is refused at once",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no page tells of a quota that fails a job",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "a failed job has words and no codes",
    },
)
