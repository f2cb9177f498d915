"""Cohere's batch lane: datasets in and out, whose parts are Avro files, and jobs that carry our mark as their name.

Sources: types of the official SDK, 7.3.1; cohere-openapi.yaml and the notebook "Batch Inference with Cohere", both
2026-08-20. The feature is young: no row but one of an embedding is shown anywhere. What is not told (UNVERIFIED), the
types of chat datasets above all, is read in every form and sent as the account's settings say.

There is no idempotency key and names need not be unique: a job is found by its name together with its input dataset.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from proxy_plugin.providers import avro
from proxy_plugin.providers.apart import unpack
from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import (
    Account,
    Capabilities,
    Credentials,
    InputMode,
    JobEnd,
    JobState,
    JobStatus,
    LineIn,
    Native,
    OutcomeUnknown,
    PartFile,
    Refused,
    Row,
    Short,
    Sighting,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.calls import ask_to_cancel, gone, known, patiently, ready
from proxy_plugin.providers.counts import believed, meant
from proxy_plugin.providers.formats.lightened import lightly
from proxy_plugin.providers.kept import bring
from proxy_plugin.providers.keys import KeyCredentials, key_of
from proxy_plugin.providers.lanes.cohere import refusals
from proxy_plugin.providers.lanes.cohere.rows import CHAT, EMBEDDINGS, OWN, request_record, result_row
from proxy_plugin.providers.listing import MOST_PAGES, identifier, moment

if TYPE_CHECKING:  # workers only translate and read rows, and aiohttp costs each of them 12 MB
    from proxy_plugin.providers.http import Origin

BATCHES, DATASETS = "v2/batches", "v1/datasets"
PAGE = 1000  # of batches: more is taken for 1000
PAGE_OF_DATASETS = 100
STATES: Mapping[str, tuple[JobState, JobEnd | None]] = {
    "UNSPECIFIED": (JobState.VALIDATING, None),
    "QUEUED": (JobState.VALIDATING, None),
    "IN_PROGRESS": (JobState.RUNNING, None),
    **dict.fromkeys(("CANCELING", "CANCELLING"), (JobState.CANCELLING, None)),
    "COMPLETED": (JobState.ENDED, JobEnd.COMPLETED),
    **dict.fromkeys(("CANCELED", "CANCELLED"), (JobState.ENDED, JobEnd.CANCELLED)),  # SDK, notebook
    "FAILED": (JobState.FAILED, None),
}
STUCK_AFTER = 3600.0  # seconds of validation, our caution; a second upload costs nothing
USABLE = frozenset({"validated", "skipped"})
# What a model is called in batches, where that is told. Others go by the name that they are given.
NAMES = {"embed-v4.0": "batch-embed-v4", "embed-v4": "batch-embed-v4"}


class CohereCredentials(KeyCredentials):
    """An API key for production, and the types of the datasets that hold lines: those of chat are UNVERIFIED.

    `own` is of chat in Cohere's words, `/v2/chat`.
    """

    cohere_embed_dataset: str = Field("batch-embed-v2-input", pattern=r"^[a-z0-9-]{1,64}$")
    """The type of datasets with lines of embeddings."""
    cohere_chat_dataset: str = Field("batch-openai-chat-input", pattern=r"^[a-z0-9-]{1,64}$")
    """The type of datasets with lines of chat (UNVERIFIED)."""
    cohere_own_chat_dataset: str = Field("batch-chat-v2-input", pattern=r"^[a-z0-9-]{1,64}$")
    """The type of datasets with lines of `/v2/chat`, in Cohere's words (UNVERIFIED)."""


CAPABILITIES = Capabilities(
    provider="cohere",
    title="Cohere",
    endpoints=frozenset({CHAT, EMBEDDINGS, *OWN}),
    native=OWN,
    input_mode=InputMode.FILE,
    default_host="https://api.cohere.com",
    api_base=ApiBase(cut=("/chat", "/embed", "/v1", "/v2")),
    max_bytes=1500 * 10**6,  # "1.5 GB each", datasets page
    one_model_per_job=True,
    accepts_label=True,
    min_poll_seconds=0.0,  # no page names a bound
    settle_seconds=900.0,  # our caution, no page names a bound
    results_kept_seconds=30 * 86400,  # since the dataset was created, datasets page
    caveats=(
        "Datasets, results among them, are deleted 30 days after their creation.",
        "The form of chat lines and of failed rows is not documented: chat goes as OpenAI's bodies.",
        "Lines of /v2/chat and /v2/embed have Cohere's own bodies, which go as they are.",
        "Whether batches cost less is told nowhere: full prices are shown.",
        "A line of embeddings holds 96 texts at most.",
    ),
)


class Cohere:
    """The batch lane of Cohere."""

    credentials: type[Credentials] = CohereCredentials
    capabilities = CAPABILITIES

    def account_key(self, credentials: Credentials) -> str:
        """Return host and key."""
        return "\x1f".join((self._host(credentials), key_of(credentials)))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return a record of the input dataset; the model belongs to the job."""
        self.capabilities.require(line.endpoint)
        return lightly(line, partial(request_record, target=target))

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read a record of the output dataset, which `fetch` has written down as JSON."""
        return result_row(line, source, endpoint)

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part as dataset `pp-<mark>`, or find that of an interrupted run; wait until it is validated."""
        origin, name = self._origin(account), _name(part)
        dataset = await _staged(origin, name) if again else None
        if dataset is None:
            try:
                kind = _kind(account.credentials, part)
                upload = partial(origin.upload, DATASETS, {}, part.path, f"{name}.jsonl", field="data")
                reply = await patiently(partial(upload, params={"name": name, "type": kind}))
            except Refused as refused:
                raise refusals.of_document(refused) from None
            dataset = identifier(reply.fields())
        if dataset is None:
            raise TryLater(f"upload of {name}: the reply names no dataset")
        await ready(partial(_validated, origin, dataset), f"dataset {name}")
        return {"dataset": dataset}

    async def fence(self, account: Account) -> str | None:  # noqa: ARG002
        """None: the order of the list is not told, and name and input are one job's alone."""
        return None

    async def create(self, account: Account, submission: Submission) -> str:
        """Create the batch under our name."""
        part, dataset = submission.part, submission.staged["dataset"]
        model = NAMES.get(part.model or "", part.model)
        order = {"name": _name(part), "input_dataset_id": dataset, "model": model}
        try:
            reply = await self._origin(account).create(BATCHES, json=order)
        except Refused as refused:
            raise refusals.of_document(refused) from None
        job = identifier(_inside(reply.fields(), "batch"))
        if job is None:
            raise OutcomeUnknown(f"HTTP {reply.status} to a create, without a batch id")
        return job

    async def find(self, account: Account, submission: Submission) -> Sighting:
        """Read all batches; the control is our input dataset, seen under its name by the same key."""
        origin, name, dataset = self._origin(account), _name(submission.part), submission.staged["dataset"]
        jobs = list[str]()
        try:
            async for job, fields in _batches(origin):
                jobs += [job] if (fields.get("name"), fields.get("input_dataset_id")) == (name, dataset) else []
        except Refused:
            return Sighting(tuple(jobs), control=False, listed=False)
        try:
            reply = await patiently(partial(origin.request, "GET", f"{DATASETS}/{dataset}"))
        except Refused:
            return Sighting(tuple(jobs), control=False)
        return Sighting(tuple(jobs), _inside(reply.fields(), "dataset").get("name") == name)

    async def status(self, account: Account, job: str, part: PartFile) -> JobStatus:
        """Poll. A job that is not found is `TryLater` with status 404."""
        origin, path = self._origin(account), f"{BATCHES}/{job}"
        found = _inside((await known(origin.request("GET", path), path)).fields(), "batch")
        state, end = _state(found)
        counts = (found.get(f"num_{name}_records") for name in ("successful", "failed"))
        completed, failed = (believed(count, part.lines) for count in counts)
        output = identifier(found, "output_dataset_id")
        if state is JobState.FAILED and completed:
            state, end = JobState.ENDED, JobEnd.COMPLETED
        named = {"dataset": output, "model": part.model or "", "encoding": part.partition} if output else {}
        return JobStatus(
            state=state,
            mark=str(found.get("name", "")).removeprefix("pp-"),
            end=end,
            completed=completed,
            failed=failed,
            results=named,
            refusal=refusals.of_job(origin, found) if state is JobState.FAILED else None,
            unnamed=end is JobEnd.COMPLETED and not output,
        )

    async def fetch(self, account: Account, job: str, status: JobStatus, folder: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Store every part of the output dataset as JSON lines. Links to them end: each try asks for new ones."""
        if "dataset" not in status.results:
            return ()
        origin, names, path = self._origin(account), [], f"{DATASETS}/{status.results['dataset']}"
        found = _inside((await patiently(partial(origin.request, "GET", path))).fields(), "dataset")
        parts = found.get("dataset_parts")
        links = [str(each.get("url") or "") for each in parts or () if isinstance(each, dict)]
        if not links and not status.last:
            raise Short(f"GET /{path}: no parts yet")
        for number, url in enumerate(links):
            names.append(f"part-{number:05d}.{status.results.get('encoding') or 'float'}.jsonl")
            facts = {"dataset": path, "part": number, "reading": status.reading}
            get = partial(_bring, account, origin, url, folder / names[-1], status)
            await bring(folder / names[-1], facts, get)
        return tuple(names)

    async def cancel(self, account: Account, job: str) -> None:
        """Ask for cancellation."""
        origin = self._origin(account)

        async def look() -> JobState:
            return _state(_inside((await origin.request("GET", f"{BATCHES}/{job}")).fields(), "batch"))[0]

        await ask_to_cancel(origin.request("POST", f"{BATCHES}/{job}:cancel"), look)

    async def revoke(self, account: Account, submission: Submission) -> None:
        """Delete the input dataset: a create that comes late has nothing to run."""
        origin, path = self._origin(account), f"{DATASETS}/{submission.staged['dataset']}"
        if not await gone(origin.request("DELETE", path)) and not await gone(origin.request("GET", path)):
            raise TryLater(f"/{path} is still there after its deletion")

    async def probe(self, account: Account) -> None:
        """Read the head of the list of jobs."""
        await self._origin(account).request("GET", BATCHES, params={"page_size": "1"})

    def _origin(self, account: Account) -> Origin:
        secret = {"Authorization": f"Bearer {key_of(account.credentials)}"}
        return account.origin(self._host(account.credentials), secret)

    def _host(self, credentials: Credentials) -> str:
        return self.capabilities.host(credentials)


async def _bring(account: Account, origin: Origin, url: str, to: Path, status: JobStatus) -> None:
    """Store a part as JSON lines beside its Avro file, which goes. Raises Short where that is cut or too long."""
    beside = to.with_name(f".{to.name}.avro")
    try:
        await patiently(partial(origin.link(url).get, beside))
        more = {"model": status.results.get("model", "")}
        await unpack(avro.__name__, beside, to, account.http.intake, more, last=status.last)
    finally:
        beside.unlink(missing_ok=True)


async def _staged(origin: Origin, name: str) -> str | None:
    """Look for a dataset of this name that may be used. Not being allowed to look costs a second upload, no money."""
    try:
        for page in range(MOST_PAGES):
            params = {"limit": str(PAGE_OF_DATASETS), "offset": str(page * PAGE_OF_DATASETS)}
            reply = await patiently(partial(origin.request, "GET", DATASETS, params=params))
            found = reply.fields().get("datasets")
            records = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
            ours = [each for each in records if each.get("name") == name and _may_be_used(each)]
            if ours:
                return identifier(ours[0])
            if len(records) < PAGE_OF_DATASETS:
                break
    except Refused:
        pass
    return None


def _may_be_used(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset is good or may become so: one that stays as it is is of an upload that broke off."""
    word, made = dataset.get("validation_status"), moment(dataset.get("created_at"))
    return word in USABLE or (word != "failed" and not 0 < made < time.time() - STUCK_AFTER)


async def _validated(origin: Origin, dataset: str) -> bool | None:
    """Return True for a dataset that may be used, None while it is being looked into. Raises Refused for a bad one."""
    path = f"{DATASETS}/{dataset}"
    found = _inside((await known(origin.request("GET", path), path)).fields(), "dataset")
    word = found.get("validation_status")
    if word == "failed":
        raise refusals.of_dataset(origin, found)
    return True if word in USABLE else None


async def _batches(origin: Origin) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield every batch. One that cannot be understood would look like one that is not there."""
    token: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        reply = await patiently(partial(origin.request, "GET", BATCHES, params={"page_size": str(PAGE), **token}))
        records = reply.fields().get("batches", [])
        for each in records if isinstance(records, list) else [None]:
            if not isinstance(each, dict) or (job := identifier(each)) is None:
                raise TryLater("a list without usable records")
            yield job, each
        following = reply.fields().get("next_page_token")
        if not following:
            return
        token = {"page_token": str(following)}
    raise Refused("the list is too long to be read", code="list_too_long")


def _state(job: Mapping[str, Any]) -> tuple[JobState, JobEnd | None]:
    return meant(STATES, str(job.get("status") or "UNSPECIFIED").removeprefix("BATCH_STATUS_"))


def _inside(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object that stands under a name, or by itself."""
    found = fields.get(name, fields)
    return found if isinstance(found, dict) else {}


def _kind(credentials: Credentials, part: PartFile) -> str:
    own = cast("CohereCredentials", credentials)
    if part.endpoint in OWN and OWN[part.endpoint] == CHAT:
        return own.cohere_own_chat_dataset
    return own.cohere_chat_dataset if part.endpoint == CHAT else own.cohere_embed_dataset


def _name(part: PartFile) -> str:
    return f"pp-{part.mark}"


COHERE = Cohere()
