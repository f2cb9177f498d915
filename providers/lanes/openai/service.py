"""What differs between the services that speak OpenAI's Files and Batches API, as data.

Source of the differences: reference page "Providers and servers that copy the OpenAI batch API", with its updates of
2026-11-29. A service that no page tells enough of takes more forms than one, and what is sent is the account's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated

from pydantic import Field

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import Capabilities, Credentials, InputMode
from proxy_plugin.providers.keys import KeyCredentials
from proxy_plugin.providers.listing import Listing, moment
from proxy_plugin.providers.marks import MARK_KEY

ALSO = ("value",)  # a list's records at Azure
BATCHES = Listing("batches", 100, "after", moment, others=ALSO)  # the most that a list of batches returns at once
IN_ANY_ORDER = Listing("batches", 100, "after", moment, newest_first=False, others=ALSO)
FILES = Listing("files", 1000, "after", moment, {"order": "desc"}, others=ALSO)
# UNVERIFIED: no reference page lists them. They are what OpenAI's error bodies are known to hold when credit, a hard
# limit or the account's payment is the reason; one that is never sent costs nothing, one that is missing ends its part.
BILLING_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
# A base with its version, such as https://api.openai.com/v1, as OpenAI's client takes it; or the whole URL of a call
# (litellm 1.106.2, `llms/openai/chat/gpt_transformation.py`, `get_complete_url`).
OPENAIS_BASE = ApiBase(cut=("/chat/completions", "/completions", "/embeddings", "/responses"))
WORDS = {  # for OpenAI's states, at services of which no page lists theirs ("Default aliases for status text")
    **dict.fromkeys(("queued", "in_queue", "created", "batch_status_queued", "pending"), "validating"),
    **dict.fromkeys(("running", "progress", "processing"), "in_progress"),
    "writing_results": "finalizing",
    **dict.fromkeys(("success", "ended"), "completed"),
    "error": "failed",
    "timeout_exceeded": "expired",
    **dict.fromkeys(("canceling", "cancellation_requested"), "cancelling"),
    "canceled": "cancelled",
}


class CopyCredentials(KeyCredentials):
    """A copy's key, and what an account may have otherwise than the record of its service says."""

    completion_window: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[hd]$")] | None = None
    """The window that jobs ask for; none: as the service has it. Example: 48h"""
    file_purpose: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """The purpose under which documents are uploaded; none: as the service has it. Example: batch"""
    job_metadata: bool | None = None
    """false: jobs are sent no metadata, and are known by their input file. Example: false"""


SETTINGS = {"window": "completion_window", "purpose": "file_purpose", "sends_label": "job_metadata"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Capabilities):
    """One service that speaks OpenAI's Files and Batches API. What is left out is as at OpenAI.

    `accepts_label`: jobs show what tells them from a stranger's, our mark or the id of our input file.
    """

    input_mode: InputMode = InputMode.FILE
    api_base: ApiBase = OPENAIS_BASE
    one_model_per_job: bool = True
    accepts_label: bool = True
    min_poll_seconds: float = 0.0  # the page names no bound; the operator's poll_seconds_first counts
    billing_codes: frozenset[str] = BILLING_CODES
    credentials: type[Credentials] = CopyCredentials
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)  # a field of this record -> the credential
    headers: Mapping[str, str] = field(default_factory=dict)  # further ones, sent where they are set -> credential
    params: Mapping[str, str] = field(default_factory=dict)  # the query of every call -> credential
    key_header: str = "Authorization"  # where the key goes, there as a bearer token
    purpose: str | None = "batch"  # of the uploaded file, None: not sent
    upload: Mapping[str, str] = field(default_factory=dict)  # further fields of its form
    processed: bool = False  # is it worked on before a job may read it?
    file_purposes: frozenset[str] = frozenset()  # of other files that the service keeps
    window: str | None = "24h"  # completion_window, None: not sent
    order: Mapping[str, object] = field(default_factory=dict)  # further members of a create
    idempotency: str | None = None  # the header under which a repeated create is the first one
    label: str = MARK_KEY  # the key of the metadata that holds our mark
    sends_label: bool = True  # is metadata sent?
    shows_label: bool = True  # do jobs show it? Without it a job is known by its input file, which no other part has
    patience: float | None = None  # seconds between polls that a service asks for, kept where it is called by TLS
    batches: Listing | None = None  # None: as OpenAI's, or in any order where nothing is known of what jobs show
    files: Listing = FILES  # of the uploaded files
    files_by_id: bool = True  # can a file be asked for by its id? Without it, it is looked for in the list
    signed_content: bool = False  # content is answered with an address elsewhere, to be read without the key
    first_line: int | None = 1  # the number of a file's first line in validation errors, None: numbers mean nothing
    urls: Mapping[str, str] = field(default_factory=dict)  # our endpoint -> the service's, where they differ
    words: Mapping[str, str] = field(default_factory=dict)  # the service's status word in lower case -> OpenAI's
    loose_rows: bool = False  # no page shows a row, so that more shapes are read
    bare_lines: bool = False  # lines are `custom_id` and `body` alone
    one_answer: bool = False  # is `n` above 1 refused?
    stripped: frozenset[str] = frozenset()  # members of bodies that mean nothing in a batch and that it stumbles over

    def of(self, credentials: Credentials) -> Service:
        """Return the record as an account has it."""
        told = {name: getattr(credentials, of) for name, of in self.settings.items() if _has(type(credentials), of)}
        changes = {name: value for name, value in told.items() if value is not None}
        return replace(self, **changes) if changes else self

    def pause(self, host: str) -> float | None:
        """Return the seconds until the next poll that the service at a base URL asks for."""
        return self.patience if host.startswith("https:") else None

    @property
    def found_by(self) -> str:
        """Say how a lost create is found."""
        return "our mark in its list" if self.labelled else "our input file in its list"

    @property
    def listing(self) -> Listing:
        """Return how the batches are listed."""
        return self.batches or (BATCHES if self.shows_label else IN_ANY_ORDER)

    @property
    def labelled(self) -> bool:
        """Tell whether each job of ours shows our mark in its metadata."""
        return self.accepts_label and self.sends_label and self.shows_label


@cache
def _has(kind: type[Credentials], name: str) -> bool:
    """Whether such credentials have a field or property; pydantic takes 15 us to say that there is none [measured]."""
    return name in kind.model_fields or hasattr(kind, name)
