"""Settings of the OpenAI stand-in, changed over `/_sandbox/options/openai` or with `--options`."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy_plugin.providers.sandbox import settings
from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.openai.differences import Differences
from proxy_plugin.providers.sandbox.strangers import Crowd


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock. A batch keeps the options in force at its creation."""

    validate_seconds: float = 0.05
    run_seconds: float = 0.2  # from the first line to the last
    finalize_seconds: float = 0.05
    cancel_seconds: float = 0.1
    window_seconds: float = 86400.0  # "Expiry": expires_at = created_at + 86400, live 2026-09
    cancel_loses: int = 0  # so many finished lines are in no file after a cancel, seen live 2026-09
    output_late: int = 0  # so many looks at an ended batch show counts and no `output_file_id` yet: users' reports
    error_late: int = 0  # the same of `error_file_id`
    told_counts: dict[str, Any] = {}  # members of `request_counts` in place of the true ones
    max_lines: int = 50_000
    max_embedding_inputs: int = 50_000
    max_file_bytes: int = 512 * 1024 * 1024
    max_batch_bytes: int = 200 * 1024 * 1024
    enqueued_token_cap: int | None = None  # input tokens of one account and model in unfinished batches
    no_credit: bool = False  # a batch fails when it is validated; the code is in user reports, no reference page has it
    unknown_models: list[str] = []
    ranges: bool = False  # content honours `Range`; the reference does not say whether OpenAI's does
    creates_per_hour: int = 2000
    uploads_per_minute: int = 1000
    delay_seconds: float = 0.0  # from an ordinary call to its answer
    requests_per_minute: int | None = None  # ordinary calls of one account
    strangers_on_list: Crowd | None = None
    answers: Style = "digest"
    differs: Differences = Differences()  # of the vendor whose copy of the API this is
    seed: int = 0  # of the order in which lines run and rows are written


class Settings(settings.Settings[Options]):
    """The options in force now."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(Options(), given)


class Window:
    """Counts events of each account in the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._moments: dict[str, deque[float]] = {}

    def admits(self, account: str, now: float, limit: int) -> bool:
        """Count one event now, unless `limit` is used up."""
        moments = self._moments.setdefault(account, deque())
        while moments and moments[0] <= now - self._seconds:
            moments.popleft()
        if len(moments) >= limit:
            return False
        moments.append(now)
        return True
