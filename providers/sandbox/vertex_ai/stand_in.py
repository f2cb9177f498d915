"""What others must know of the stand-in for Vertex AI and its bucket."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn
from proxy_plugin.providers.sandbox.tokens import service_account

PROJECT, REGION, BUCKET = "sandbox", "us-central1", "sandbox-batches"
PLACE = f"projects/{PROJECT}/locations/{REGION}"


def _settings(url: str, key: str) -> dict[str, str]:
    place = {"vertex_project_id": PROJECT, "vertex_region": REGION, "vertex_storage_bucket_name": BUCKET}
    hosts = {"vertex_endpoint_url": url, "gcs_endpoint_url": url, "google_token_url": f"{url}/token"}
    return {**place, **hosts, "vertex_service_account_json": service_account(key)}


STAND_IN = StandIn(
    provider="vertex-ai",
    dialect="proxy_plugin.providers.sandbox.vertex_ai.dialect:VertexAI",
    models=("gemini-2.5-flash", "gemini-2.5-pro"),
    settings=_settings,
    root="",
    jobs=f"v1/{PLACE}/batchPredictionJobs",
    newest="?pageSize=1",
    uploads=f"upload/storage/v1/b/{BUCKET}/o",
    results="objects.content",
    stop=":cancel",
    files=f"storage/v1/b/{BUCKET}/o",
    late_cancel=400,
    free=(
        *("tokens.create", "objects.begin", "objects.send", "batches.list", "batches.retrieve", "objects.list"),
        *("objects.retrieve", "objects.content"),
    ),
    doubted=("objects.delete",),
    late=("results_late",),
    counters=("successfulCount", "failedCount"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    rests=False,
    leaves=True,
    unlike={
        "test_results_that_went_while_the_gateway_was_down": "what a bucket has lost is not listed, and not refused",
    },
    lacks={
        "test_a_wrong_provider_key_is_said_in_every_row": "an account has a service account or a token, never both",
        "test_a_job_that_failed_for_lack_of_quota_is_submitted_again": "its option belongs to OpenAI's jobs",
        "test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch": "an unknown model is a 404 of the create",
    },
)
