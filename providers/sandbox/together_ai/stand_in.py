"""What others must know of Together's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="together-ai",
    dialect="proxy_plugin.providers.sandbox.together_ai.dialect:Together",
    models=("meta-llama/Llama-3.3-70B-Instruct-Turbo", "openai/gpt-oss-20b"),
    newest="",
    uploads="files",
    results="files.content",
    free=(
        *("files.create", "store.put", "files.preprocess", "files.retrieve", "files.content"),
        *("batches.retrieve", "batches.list"),
    ),
    moves=("files.create",),
    doubted=("files.delete",),
    late=("results_late",),
    counters=("completed", "failed"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "finalize_seconds": 0.02, "cancel_seconds": 0.05},
    answers="digest",
    errors_paid=False,
    counted=False,
    rests=False,
    lacks={
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no page tells of a quota that fails a job",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "a failed job has words and no codes",
    },
)
