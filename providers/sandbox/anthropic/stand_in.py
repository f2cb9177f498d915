"""What others must know of Anthropic's stand-in."""

from proxy_plugin.providers.sandbox.stand_ins import StandIn


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": "2023-06-01"}


STAND_IN = StandIn(
    provider="anthropic",
    dialect="proxy_plugin.providers.sandbox.anthropic.dialect:Anthropic",
    models=("claude-haiku-4-5", "claude-sonnet-4-5"),
    headers=_headers,
    jobs="messages/batches",
    results="batches.results",
    ended="ended",
    late_cancel=400,
    free=("batches.retrieve", "batches.list", "batches.results"),
    late=("results_late",),
    counters=("succeeded", "errored"),
    quick={"run_seconds": 0.05, "cancel_seconds": 0.05},
    labelled=False,
    errors_paid=False,
    unlimited={"max_queued": 10**8},
)
