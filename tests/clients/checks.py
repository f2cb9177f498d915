"""What the OpenAI-shaped SDKs (openai, portkey-ai) have to get from the gateway, by values."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from tests.clients.caller import PLAIN, WAYS, Caller, Way, raised
from tests.clients.scene import as_jsonl, rows_of
from tests.clients.sheet import Sheet, is_method

OTHER_PURPOSES = ("fine-tune", "assistants", "user_data", "vision", "evals")
EXPIRY = {"anchor": "created_at", "seconds": 7200}
TUNING = as_jsonl([{"messages": [{"role": "user", "content": f"{n}é"}, {"role": "assistant", "content": "a"}]}
                   for n in range(10)])  # fmt: skip
Check = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True)
class Proof:
    """A check, the cells it proves, and whether it is made in every way the SDK has of answering."""

    cells: tuple[str, ...]
    check: Check
    all_ways: bool


PROOFS: list[Proof] = []


def proves(*cells: str, all_ways: bool = False) -> Callable[[Check], Check]:
    """Register a check for its cells; the names of methods are those of the plain way."""

    def register(check: Check) -> Check:
        PROOFS.append(Proof(cells, check, all_ways))
        return check

    return register


async def prove_all(sheet: Sheet, caller: Caller, proofs: Sequence[Proof], surface: set[str]) -> None:
    """Run every check, in each way that this SDK has of answering."""
    for proof in proofs:
        for way in _ways(proof, surface):
            cells = [way.path(cell) if is_method(cell) else cell for cell in proof.cells]
            one = replace(caller, way=way, called=sheet.called)
            await sheet.prove(cells, partial(proof.check, one), proof.check.__name__)


def _ways(proof: Proof, surface: set[str]) -> Iterator[Way]:
    seen: set[str] = set()
    for way in WAYS if proof.all_ways else (PLAIN,):
        paths = {way.path(cell) for cell in proof.cells if is_method(cell)} or {way.path("files.retrieve")}
        if way is PLAIN or (paths & surface) - seen:
            yield way
        seen |= paths


# ---- files ----


@proves("files.create", "files.retrieve", "files.content", "files.delete", all_ways=True)
async def a_file_is_what_was_uploaded(c: Caller) -> None:
    """From a path, to its deletion."""
    content, path = c.scene.content, c.scene.path
    file = await c.call("files.create", file=path, purpose="batch")
    _check_file(file, c.scene.path.name, len(content))
    again = await c.call("files.retrieve", file.id)
    assert (again.id, again.bytes, again.filename) == (file.id, len(content), path.name)
    assert again.created_at == file.created_at
    assert await c.content(file.id) == content
    gone = await c.call("files.delete", file.id)
    assert (gone.id, gone.deleted, gone.object) == (file.id, True, "file")
    await c.refused("NotFoundError", None, "files.retrieve", file.id)


def _check_file(file: Any, name: str, size: int, purpose: str = "batch") -> None:
    assert file.id.startswith("file-"), file.id
    assert (file.object, file.filename, file.bytes, file.purpose) == ("file", name, size, purpose)
    assert file.status in {"uploaded", "processed"}


@proves("upload forms: path, tuple, bytes, stream, odd names")
async def every_form_of_an_upload(c: Caller) -> None:
    """What the SDK's FileTypes allow, and names that need quoting."""
    content = c.scene.content
    with c.scene.path.open("rb") as stream:
        forms = {
            "a.jsonl": ("a.jsonl", content),
            "typed.jsonl": ("typed.jsonl", io.BytesIO(content), "application/jsonl"),
            'é "quoted" 漢字.jsonl': ('é "quoted" 漢字.jsonl', content),
            c.scene.path.name: stream,
        }
        for name, form in forms.items():
            file = await c.call("files.create", file=form, purpose="batch")
            _check_file(file, name, len(content))
            assert await c.content(file.id) == content
    bare = await c.call("files.create", file=content, purpose="batch")
    assert await c.content(bare.id) == content


@proves("files.create with expires_after")
async def a_file_expires_when_it_should(c: Caller) -> None:
    """The SDKs send `expires_after` in brackets."""
    file = await c.call("files.create", file=("a.jsonl", c.scene.content), purpose="batch", expires_after=EXPIRY)
    assert file.expires_at == file.created_at + 7200


@proves("files.retrieve_content", all_ways=True)
async def the_deprecated_content_is_text(c: Caller) -> None:
    """openai-python asks for it with `Accept: application/json` and wants the text all the same."""
    text = await c.call("files.retrieve_content", c.scene.done["output"])
    c.scene.check_output(text.encode() if isinstance(text, str) else text.content)


@proves("files.wait_for_processing")
async def processing_ends(c: Caller) -> None:
    """A file's lines are checked in the background."""
    file = await c.call("files.create", file=c.scene.path, purpose="batch")
    ready = await c.plain("files.wait_for_processing", file.id, poll_interval=0.05, max_wait_seconds=30)
    assert (ready.id, ready.status) == (file.id, "processed")


@proves("files.list", all_ways=True)
async def pages_of_files(c: Caller) -> None:
    """Page by page over the cursor: every file once, newest first, and the reverse; by purpose."""
    made = [(await c.call("files.create", file=(f"{n}.jsonl", b"{}\n"), purpose="batch")).id for n in range(5)]
    found = await _paged(c, "files.list", 2, purpose="batch")
    assert found[:5] == made[::-1]
    assert found == (await _paged(c, "files.list", 3, purpose="batch", order="asc"))[::-1]
    outputs = await _paged(c, "files.list", 100, purpose="batch_output")
    assert c.scene.done["output"] in outputs
    assert not set(outputs) & set(found)
    assert set(await _paged(c, "files.list", 100)) >= set(outputs) | set(found)
    for file_id in made:
        await c.call("files.delete", file_id)
    assert not set(made) & set(await _paged(c, "files.list", 100))


async def _paged(c: Caller, method: str, limit: int, **more: Any) -> list[str]:
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await c.call(method, limit=limit, **after, **more)
        ids = [one.id for one in page.data]
        assert page.object == "list"
        assert len(ids) <= limit
        found += ids
        if not page.has_more:
            break
        assert len(ids) == limit
        after = {"after": ids[-1]}
    assert len(found) == len(set(found)), "an id came twice"
    return found


@proves("files.create with other purposes")
async def files_for_the_provider(c: Caller) -> None:
    """Purposes other than batch go to the provider of the virtual key, and look the same from here."""
    for purpose in OTHER_PURPOSES:
        file = await c.call("files.create", file=(f"{purpose}.jsonl", TUNING), purpose=purpose)
        assert file.id, purpose
        assert (file.filename, file.bytes, file.purpose) == (f"{purpose}.jsonl", len(TUNING), purpose)
        assert (await c.call("files.retrieve", file.id)).bytes == len(TUNING), purpose
        assert file.id in await _paged(c, "files.list", 100, purpose=purpose)
        assert (await c.call("files.delete", file.id)).deleted is True, purpose


# ---- batches ----


@proves("batches.create", "batches.retrieve", all_ways=True)
async def a_batch_is_answered(c: Caller) -> None:
    """Upload to output: counts, times, usage, metadata, and each row by its text."""
    file = await c.call("files.create", file=c.scene.path, purpose="batch")
    order = c.scene.order(input_file_id=file.id, metadata={"team": "données"})
    batch = await c.call("batches.create", **order)
    assert (batch.object, batch.status, batch.input_file_id) == ("batch", "validating", file.id)
    assert (batch.endpoint, batch.completion_window) == ("/v1/chat/completions", "24h")
    batch = await c.until(batch.id)
    _check_done(c, batch)
    assert batch.metadata == {"team": "données"}
    c.scene.check_output(await c.content(batch.output_file_id))
    c.scene.check_error(await c.content(batch.error_file_id))


def _check_done(c: Caller, batch: Any) -> None:
    counts = batch.request_counts
    assert batch.status == "completed", batch
    assert (counts.total, counts.completed, counts.failed) == (
        c.scene.total, len(c.scene.answers), len(c.scene.failing))  # fmt: skip
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    assert batch.model == c.scene.model
    usage: Any = SimpleNamespace(**batch.usage) if isinstance(batch.usage, dict) else batch.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0


@proves("batches.create with output_expires_after")
async def outputs_expire_when_they_should(c: Caller) -> None:
    """Both files of the batch get the wanted end."""
    order = c.scene.order(input_file_id=c.scene.done["input"], output_expires_after=EXPIRY)
    batch = await c.until((await c.call("batches.create", **order)).id)
    for file_id in (batch.output_file_id, batch.error_file_id):
        file = await c.call("files.retrieve", file_id)
        assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 7200)


@proves("batches.list", all_ways=True)
async def pages_of_batches(c: Caller) -> None:
    """Every batch once, newest first."""
    order = c.scene.order(input_file_id=c.scene.done["input"])
    made = [(await c.call("batches.create", **order)).id for _ in range(3)]
    found = await _paged(c, "batches.list", 2)
    assert found[:3] == made[::-1]
    assert found[-1] == c.scene.done["batch"]
    for batch_id in made:
        await c.until(batch_id)


@proves("batches.cancel", all_ways=True)
async def a_cancelled_batch_ends_cancelled(c: Caller) -> None:
    """A running batch says cancelling, then cancelled, and every line is in one of the files."""
    slow = c.using("slow")
    batch = await slow.call("batches.create", **c.scene.order(input_file_id=c.scene.done["input"]))
    await slow.until(batch.id, {"in_progress"})
    asked = await slow.call("batches.cancel", batch.id)
    assert (asked.id, asked.status) == (batch.id, "cancelling")
    assert asked.cancelling_at
    assert (await slow.call("batches.cancel", batch.id)).status in {"cancelling", "cancelled"}
    ended = await slow.until(batch.id)
    assert ended.status == "cancelled"
    assert ended.cancelling_at <= ended.cancelled_at
    assert ended.request_counts.completed + ended.request_counts.failed == c.scene.total
    files = [file_id for file_id in (ended.output_file_id, ended.error_file_id) if file_id]
    rows = [row["custom_id"] for file_id in files for row in rows_of(await slow.content(file_id))]
    assert sorted(rows) == sorted([*c.scene.answers, *c.scene.failing])


@proves("batches: a faulty file fails the batch")
async def faults_are_named(c: Caller) -> None:
    """An envelope fault sends nothing and names its line."""
    with open(c.scene.broken, "rb") as stream:  # noqa: PTH123 - as users of the SDKs write it
        file = await c.call("files.create", file=stream, purpose="batch")
    batch = await c.until((await c.call("batches.create", **c.scene.order(input_file_id=file.id))).id)
    assert batch.status == "failed"
    assert batch.failed_at
    (fault,) = batch.errors.data
    assert (fault.code, fault.line, fault.param) == ("duplicate_custom_id", 3, "custom_id")
    assert batch.output_file_id is None


# ---- uploads ----


@proves("uploads.create", "uploads.parts.create", "uploads.complete", all_ways=True)
async def an_upload_in_parts(c: Caller) -> None:
    """Parts sent out of order are put together in the order of `part_ids`; the file is an ordinary one."""
    content = c.scene.content
    cut = len(content) // 3
    wanted = {"bytes": len(content), "filename": "large.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
    upload = await c.call("uploads.create", **wanted)
    assert (upload.object, upload.status, upload.bytes) == ("upload", "pending", len(content))
    assert (upload.filename, upload.purpose) == ("large.jsonl", "batch")
    assert upload.expires_at > upload.created_at
    last = await c.call("uploads.parts.create", upload.id, data=content[cut:])
    first = await c.call("uploads.parts.create", upload.id, data=content[:cut])
    assert (first.object, first.upload_id) == ("upload.part", upload.id)
    md5 = hashlib.md5(content).hexdigest()
    done = await c.call("uploads.complete", upload.id, part_ids=[first.id, last.id], md5=md5)
    assert (done.id, done.status) == (upload.id, "completed")
    _check_file(done.file, "large.jsonl", len(content))
    assert await c.content(done.file.id) == content


@proves("uploads.cancel", all_ways=True)
async def a_cancelled_upload(c: Caller) -> None:
    """It takes no more parts and makes no file."""
    wanted = {"bytes": 3, "filename": "a.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
    upload = await c.call("uploads.create", **wanted)
    part = await c.call("uploads.parts.create", upload.id, data=b"{}\n")
    gone = await c.call("uploads.cancel", upload.id)
    assert (gone.id, gone.status) == (upload.id, "cancelled")
    for method, more in (("uploads.parts.create", {"data": b"{}\n"}), ("uploads.complete", {"part_ids": [part.id]})):
        kinds = (c.errors.BadRequestError, c.errors.ConflictError)
        refusal = await raised(c.call(method, upload.id, **more), *kinds)
        assert refusal.type == "invalid_request_error"


@proves("uploads.upload_file_chunked")
async def a_chunked_upload(c: Caller) -> None:
    """The SDK cuts a path, or bytes, into parts by itself; the file then feeds a batch."""
    content, path = c.scene.content, c.scene.path
    more = {"mime_type": "application/jsonl", "purpose": "batch", "part_size": 500}
    done = await c.plain("uploads.upload_file_chunked", file=path, **more)
    assert (done.status, done.file.filename, done.file.bytes) == ("completed", path.name, len(content))
    assert await c.content(done.file.id) == content
    done = await c.plain("uploads.upload_file_chunked", file=content, filename="b.jsonl", bytes=len(content), **more)
    batch = await c.until((await c.call("batches.create", **c.scene.order(input_file_id=done.file.id))).id)
    c.scene.check_output(await c.content(batch.output_file_id))


# ---- errors ----


@proves("errors: 401", all_ways=True)
async def an_unknown_key(c: Caller) -> None:
    """Every route asks who is calling."""
    nobody, order = c.using("nobody"), c.scene.order(input_file_id=c.scene.done["input"])
    for method, args, more in (
        ("files.retrieve", [c.scene.done["input"]], {}),
        ("batches.list", [], {}),
        ("batches.create", [], order),
        ("files.create", [], {"file": ("a.jsonl", b"{}\n"), "purpose": "batch"}),
    ):
        refusal = await nobody.refused("AuthenticationError", "invalid_api_key", method, *args, **more)
        assert "nobodys-key" not in str(refusal)


@proves("errors: 400", all_ways=True)
async def bad_requests(c: Caller) -> None:
    """The error names the parameter."""
    upload = {"file": ("a.jsonl", b"{}\n"), "purpose": "no-such-purpose"}
    assert (await c.refused("BadRequestError", None, "files.create", **upload)).param == "purpose"
    order = {"input_file_id": c.scene.done["input"], "endpoint": "/v1/no/such", "completion_window": "24h"}
    assert (await c.refused("BadRequestError", None, "batches.create", **order)).param == "endpoint"
    assert (await c.refused("BadRequestError", None, "batches.list", limit=0)).param == "limit"
    assert (await c.refused("BadRequestError", None, "batches.list", after="batch_none")).param == "after"


@proves("errors: 404", all_ways=True)
async def what_is_not_there(c: Caller) -> None:
    """What another workspace has is as absent as what nobody has."""
    for file_id in ("file-none", c.scene.stranger["output"]):
        for method in ("files.retrieve", "files.content", "files.delete"):
            await c.refused("NotFoundError", None, method, file_id)
        order = c.scene.order(input_file_id=file_id)
        refusal = await c.refused("NotFoundError", None, "batches.create", **order)
        assert refusal.param == "input_file_id"
    for batch_id in ("batch_none", c.scene.stranger["batch"]):
        for method in ("batches.retrieve", "batches.cancel"):
            await c.refused("NotFoundError", None, method, batch_id)


@proves("errors: 409", all_ways=True)
async def conflicts(c: Caller) -> None:
    """A finished batch is not cancelled; the SDK is told not to try again. The file of a running one may go."""
    refusal = await c.refused("ConflictError", "conflict", "batches.cancel", c.scene.done["batch"])
    assert refusal.response.headers["x-should-retry"] == "false"
    slow = c.using("slow")
    file = await slow.call("files.create", file=c.scene.path, purpose="batch")
    batch = await slow.call("batches.create", **c.scene.order(input_file_id=file.id))
    assert (await c.call("files.delete", file.id)).deleted is True
    await c.refused("NotFoundError", None, "files.retrieve", file.id)
    await slow.call("batches.cancel", batch.id)
    assert (await slow.until(batch.id)).status == "cancelled"


@proves("models.list", "models.retrieve")
async def models_are_listed(c: Caller) -> None:
    """The models that the caller can reach, by the names that a line may carry."""
    page = await c.call("models.list")
    (model,) = [model for model in page.data if model.id == f"@{c.scene.lane}/{c.scene.model}"]
    assert (page.object, model.object) == ("list", "model")
    assert model.created >= 0
    again = await c.call("models.retrieve", model.id)
    assert (again.id, again.owned_by) == (model.id, model.owned_by)
    await c.refused("NotFoundError", "model_not_found", "models.retrieve", "no-such-model")
