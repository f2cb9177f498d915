"""Sections that bound what the gateway takes and does: engine, limits, cache, connections, alone, ordinary calls."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from proxy_plugin.config.kinds import Folder, Positive, Seconds, Settings
from proxy_plugin.ground.meter import Allowance


class DirectLimits(Settings):
    """What the ordinary calls of a virtual key may be. None: no limit is known."""

    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Calls at once. A 429 halves it, and as many answers as there are calls bring one back."""
    requests_per_minute: Positive | None = None
    """Never more in any 60 s, over tasks, batches and restarts. Example: 500"""
    tokens_per_minute: Positive | None = None
    """The same of tokens: guessed by the length of the line and its `max_tokens`, corrected by `usage`. Example:
    200000
    """
    retries: Annotated[int, Field(ge=0, le=100)] = 5
    """Further calls of one line after 408, 409, 425 and 5xx; a 429 counts a quarter, while other lines are answered."""
    timeout_seconds: Seconds = 600
    """Until one call is answered."""


class EngineSettings(Settings):
    """The background engine.

    What a worker may do at a time is bounded in seconds of CPU: so many, and more for each megabyte that it reads. A
    task that needs more fails its batch, a line that does becomes an error row. Of tens of shapes of lines the slowest
    takes 0.5 s a megabyte [measured, 2 GHz].
    """

    poll_seconds_first: Seconds = 5
    """The shortest pause between two looks at a native job."""
    poll_seconds_max: Seconds = 300
    """The longest pause between two looks at a native job; in between it is a tenth of the job's age."""
    workers: Positive | None = None
    """Processes that translate, split and merge; none: one a core, at most 4. Example: 2"""
    direct_workers: Positive = 1
    """Processes that make ordinary calls; each answers one virtual key's lines at a time."""
    task_seconds: Seconds = 60
    """Seconds of CPU that one task of a worker may take, whatever it reads."""
    task_seconds_per_mb: Seconds = 3
    """Seconds of CPU more for each megabyte that a task reads."""
    line_seconds: Seconds = 5
    """Seconds of CPU that the translation of one line may take, however short it is."""
    line_seconds_per_mb: Seconds = 2
    """Seconds of CPU more for each megabyte of a line."""

    @property
    def allowance(self) -> Allowance:
        """What the translation of one line may take."""
        return Allowance(self.line_seconds, self.line_seconds_per_mb)

    @model_validator(mode="after")
    def _ordered(self) -> EngineSettings:
        if self.poll_seconds_first > self.poll_seconds_max:
            raise ValueError("poll_seconds_first is above poll_seconds_max")
        return self


SHARE_OF_SEVERAL, SHARE_OF_ONE = 0.33, 0.6  # of the disk; results may take half as much again, and need room to end


class Limits(Settings):
    """What one request, one workspace and the disk may bear.

    A workspace takes `max_workspace_bytes` of new work, and never more than `max_workspace_share` of the disk; with the
    results of what is paid for it may have half as much again, so the default leaves half of the disk to others. 64 GiB
    are 32 files of the largest size. 10,000 open batches are five hours of what OpenAI lets a project create, and
    100,000 files are ten for each of them.
    """

    max_file_bytes: Positive = 2 * 2**30
    """Of one uploaded file."""
    max_line_bytes: Positive = 16 * 2**20
    """Of one line, as it was uploaded and with what a config puts into it."""
    max_lines: Positive = 5_000_000
    """Lines of one file."""
    max_inline_bytes: Annotated[int, Field(ge=2**20)] = 16 * 2**20
    """Of a create that brings its `requests` along."""
    max_workspace_bytes: Positive = 64 * 2**30
    """That one workspace stores of new work; with results half as much again."""
    max_workspace_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of the disk that one workspace may fill, where files are in `data_dir`; none: 0.33, and 0.6 where there is
    only one. Example: 0.5
    """
    max_workspace_files: Positive = 100_000
    """Files that a workspace keeps here, open uploads and their parts included."""
    max_workspace_uploads: Positive | None = None
    """Uploads of one workspace that run at the same time; none: three quarters of `max_uploads`. Example: 20"""
    max_open_batches: Positive = 10_000
    """Batches of one workspace that have not ended."""
    max_uploads: Positive = 100
    """Uploads that run at the same time, of all workspaces together."""
    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    """Free bytes of the disk that nothing new takes."""
    max_media_files: Positive = 10_000
    """Pictures that are fetched for one batch."""
    max_media_bytes: Positive = 12 * 2**20
    """Of one picture; as base64 it is as long as `max_line_bytes`."""
    max_media_total_bytes: Positive = 2**30
    """Of all pictures of one batch."""
    max_media_seconds: Positive = 30
    """Until a picture has come; there are three tries."""
    max_plans: Positive = 16
    """Plans of one workspace at a time, those that wait for their turn included; one more is answered 429."""
    max_jobs_per_batch: Annotated[int, Field(ge=1, le=5_000)] = 500
    """Native jobs that one batch may be split into; a file that needs more is refused as a whole."""

    @property
    def uploads_of_one(self) -> int:
        """How many uploads of one workspace run at the same time."""
        return self.max_workspace_uploads or -(-self.max_uploads * 3 // 4)


class CacheSettings(Settings):
    """Answers that are kept for batches whose config asks for them with `cache: {mode: simple}`."""

    dir: Folder | None = None
    """The folder, which one gateway owns; none: `cache` in `data_dir`. Example: /var/cache/proxy-plugin"""
    max_bytes: Annotated[int, Field(ge=0)] = 2**30
    """Of all answers together, the oldest go first; 0: none are kept and none are looked for."""
    max_age: Seconds = 30 * 86_400
    """Seconds that an answer is kept; a config's own `max_age` may be shorter, not longer."""


class Connections(Settings):
    """What a connection may cost. Those marked "serve" count where the server is that of `proxy-plugin serve`."""

    max_open: Positive | None = None
    """serve: connections at the same time; none: by the number of files that the process may open. Example: 1000"""
    max_requests_per_workspace: Positive = 200
    """Requests of one workspace that run at the same time; one more is answered 429."""
    head_seconds: Seconds = 15
    """serve: until the first byte of a request, and from there until its head is whole."""
    max_head_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """serve: of the request line and all headers together."""
    keepalive_seconds: Seconds = 75
    """serve: between two requests of one connection; a load balancer's own idle time should be shorter."""
    min_bytes_per_second: Annotated[int, Field(ge=0)] = 1024
    """The least rate of bodies over a minute, 0: none; serve: of answers, too."""
    max_body_seconds: Seconds = 3600
    """Until the body of a request has come; a larger file is uploaded in parts."""


class AloneSettings(Settings):
    """Chat, completions, embeddings and responses that are answered here, where there is no `server.upstream`."""

    enabled: bool = True
    """Whether they are answered; batches are, in any case."""
    workers: Positive = 1
    """Processes that make these calls; the first call starts them."""
    timeout_seconds: Seconds = 600
    """Until a call is answered, or of silence in a stream."""
    concurrency: Positive = 256
    """Calls to one account at once, in one process."""
    max_body_bytes: Positive = 64 * 2**20
    """Of the body of one call."""
