"""What others must know of OpenAI's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn

STAND_IN = StandIn(
    provider="openai",
    dialect="proxy_plugin.providers.sandbox.openai.dialect:OpenAI",
    models=("gpt-4.1-mini", "gpt-4.1-nano"),
    uploads="files",
    results="files.content",
    free=("files.create", "files.content", "batches.retrieve", "batches.list", "files.retrieve"),
    doubted=("files.list", "files.delete"),
    late=("output_late", "error_late"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "finalize_seconds": 0.02, "cancel_seconds": 0.05},
    unlimited={"creates_per_hour": 10**6, "uploads_per_minute": 10**6},
    answers="digest",
)
