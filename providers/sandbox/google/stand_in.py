"""What others must know of the Gemini API's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn


def _headers(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key}


STAND_IN = StandIn(
    provider="google",
    dialect="proxy_plugin.providers.sandbox.google.dialect:Google",
    models=("gemini-2.5-flash", "gemini-2.5-pro"),
    headers=_headers,
    root="",
    jobs="v1beta/batches",
    creates="v1beta/models/gemini-2.5-flash:batchGenerateContent",
    newest="?pageSize=1",
    uploads="upload/v1beta/files",
    results="files.content",
    stop=":cancel",
    files="v1beta/files",
    expires_empty=True,
    says_cancelling=False,
    late_cancel=400,
    free=("files.create", "files.retrieve", "files.content", "batches.retrieve", "batches.list", "files.delete"),
    doubted=("files.list",),
    late=("results_late",),
    counters=("successfulRequestCount", "failedRequestCount"),
    quick={"processing_seconds": 0.02, "validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    unlimited={"max_batches": 10**6},
    lacks={
        "test_an_acceptance_later_than_the_settle_time_runs_nothing": "a create whose input is gone is refused: no job",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "for lack of quota a create is 429",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "an unknown model is a 404 of the create",
    },
)
