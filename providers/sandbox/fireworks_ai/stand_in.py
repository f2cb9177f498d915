"""What others must know of Fireworks' stand-in."""

from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.stand_ins import StandIn


def _settings(url: str, key: str) -> Mapping[str, Any]:
    return {"api_key": key, "custom_host": url, "fireworks_account_id": "sandbox"}


NEVER_REVOKED = "a create that comes late finds its id taken: nothing has to be revoked"

STAND_IN = StandIn(
    provider="fireworks-ai",
    dialect="proxy_plugin.providers.sandbox.fireworks_ai.dialect:Fireworks",
    models=("accounts/fireworks/models/deepseek-v3p1", "accounts/fireworks/models/gpt-oss-20b"),
    settings=_settings,
    root="",
    jobs="v1/accounts/sandbox/batchInferenceJobs",
    newest="",
    uploads="v1/accounts/sandbox/datasets",
    files="v1/accounts/sandbox/datasets",
    revoked=False,
    names_lines=False,
    results="store.get",
    free=(
        *("datasets.create", "datasets.upload_link", "store.put", "datasets.validate", "datasets.retrieve"),
        *("datasets.download_link", "store.get", "store.get_beside", "batches.retrieve"),
    ),
    lookup="batches.retrieve",
    doubted=("datasets.delete", "batches.list"),
    late_cancel=0,
    late=("results_late",),
    counters=("successfullyProcessedRequests", "failedRequests"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "finalize_seconds": 0.02, "cancel_seconds": 0.05},
    partial=False,
    rests=False,
    lacks={
        "never arrived": NEVER_REVOKED,
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": NEVER_REVOKED,
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "no page tells of a quota that fails a job",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "a failed job has words and no codes",
    },
)
