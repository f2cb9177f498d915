"""What others must know of Mistral's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="mistral-ai",
    dialect="proxy_plugin.providers.sandbox.mistral_ai.dialect:Mistral",
    models=("mistral-small-latest", "mistral-medium-latest"),
    jobs="batch/jobs",
    uploads="files",
    results="files.content",
    ended="completed",
    free=("files.create", "files.content", "batches.retrieve", "batches.list", "files.retrieve"),
    doubted=("files.list", "files.delete"),
    late=("results_late",),
    counters=("succeeded_requests", "failed_requests"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    answers="digest",
)
