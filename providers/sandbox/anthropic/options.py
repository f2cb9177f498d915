"""Settings of the Anthropic stand-in, changed over `/_sandbox/options/anthropic` or with `--options`.

Limits are those of "Message Batches", Claude Platform documentation, 2026-09-26, where no other source is named.
"""

from typing import Any

import msgspec

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.settings import Settings as _Settings
from proxy_plugin.providers.sandbox.strangers import Crowd


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock. A batch keeps the options in force at its creation."""

    run_seconds: float = 0.2  # from the creation to the end of the last request
    cancel_seconds: float = 0.1
    cancel_interrupts: bool = True  # false: what runs cannot be stopped, so a cancel ends with no row canceled
    window_seconds: float = 86400.0
    archive_after_seconds: float = 29 * 86400.0  # since the creation, not since the end
    poll_retry_after: int | None = None  # 10 was seen live on answers about batches in progress, 2026-09-02
    results_url_host: str | None = None  # scheme and host for `results_url` in place of those of the request
    results_late: int = 0  # so many readings of the results of an ended batch find none yet
    told_counts: dict[str, Any] = {}  # members of `request_counts` in place of the true ones, once it has ended
    max_requests: int = 100_000
    max_body_bytes: int = 256_000_000  # "256 MB": the smaller reading
    max_queued: int = 500_000  # requests in unfinished batches of one account, the highest tier
    max_output_tokens: int = 64_000
    model_output_tokens: dict[str, int] = {}  # exceptions, by model
    unknown_models: list[str] = []  # besides "no-such-model" and whatever is no claude
    strangers_on_list: Crowd | None = None
    answers: Style = "digest"
    seed: int = 0  # of the order in which requests run and rows are written


Settings = _Settings[Options]
