"""Settings of the Gemini stand-in, changed over `/_sandbox/options/google` or with `--options`.

Limits are those of the reference page of the Gemini API, 2026-11-29, which calls most of them recalled, not read.
"""

from typing import Any, Literal

import msgspec

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.settings import Settings as _Settings
from proxy_plugin.providers.sandbox.strangers import Crowd


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock. A batch keeps the options in force at its creation."""

    processing_seconds: float = 0.05  # of an upload, before it can be used
    pending_seconds: float = 0.05
    run_seconds: float = 0.2
    cancel_seconds: float = 0.1
    window_seconds: float = 48 * 3600.0  # pending or running for longer, a batch expires without results
    file_seconds: float = 48 * 3600.0
    upload_breaks: list[int] = []  # so many bytes of the first sends arrive, then the connection ends
    upload_fails: bool = False  # uploads end as FAILED
    output_late: int = 0  # so many looks at a batch that has succeeded show no output yet
    keeps: bool = True  # the answers made before a cancel: no page tells for certain
    told_counts: dict[str, Any] = {}  # members of `batchStats` in place of the true ones, once it has ended
    words: Literal["BATCH_STATE_", "JOB_STATE_"] = "BATCH_STATE_"
    newest_first: bool = True  # the list; no page says in which order it comes
    output_in: Literal["metadata", "response", "both"] = "both"
    gone_status: Literal[403, 404] = 404  # of a file that is not there
    max_file_bytes: int = 2 * 10**9
    max_inline_bytes: int = 20 * 10**6
    max_batches: int = 100  # that have not ended
    no_quota: bool = False  # a batch fails for want of quota before it runs
    unknown_models: list[str] = []  # besides "no-such-model"
    strangers_on_list: Crowd | None = None
    answers: Style = "digest"
    seed: int = 0  # of the order in which lines run and rows are written


Settings = _Settings[Options]
