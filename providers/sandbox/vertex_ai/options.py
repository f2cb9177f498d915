"""Settings of the stand-in for Vertex AI, changed over `/_sandbox/options/vertex-ai` or with `--options`."""

from typing import Any, Literal

from msgspec import field

from proxy_plugin.providers.sandbox.kit import jobs
from proxy_plugin.providers.sandbox.vertex_ai.stand_in import BUCKET


class Options(jobs.Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Times are in seconds of the sandbox clock."""

    token_seconds: float = 3600.0
    buckets: list[str] = field(default_factory=lambda: [BUCKET])
    closed_buckets: list[str] = field(default_factory=list)  # there, but not for the account
    upload_breaks: list[int] = field(default_factory=list)  # bytes of the first pieces that arrive
    uploads_gone: bool = False  # an upload that is known no more is 410, not 404
    searches: Literal["both", "name", "none", "blind"] = "both"  # what a list can be searched by; blind: it finds none
    shards: int = 1  # of the answers
    names: Literal["predictions", "numbers", "results"] = "predictions"  # how these are called
    whole: bool = True  # is there more than what was written while the job ran?
    keys_back: bool = False  # do rows of Gemini show the `key` of their line?
    lost_ids: int = 0  # every so many-th row shows no id at all
    job_error: dict[str, Any] | None = None  # with which a job fails before it runs
    deaf: bool = False  # a cancel is taken, and comes too late
    partly: bool = False  # a job that ran says PARTIALLY_SUCCEEDED
