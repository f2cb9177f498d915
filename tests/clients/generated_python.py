"""The client that openapi-python-client makes of the OpenAPI document: every field by its type, none besides.

`python -m tests.clients.generated_python SCENE sync|async`. Each route has two functions of a kind: with the whole
response, and with what is in it alone.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.clients.caller import raised, settled
from tests.clients.scene import ENDS, Scene, until
from tests.clients.sheet import Sheet

generated: Any = importlib.import_module("generated")
api: Any = importlib.import_module("generated.api")
models: Any = importlib.import_module("generated.models")
types: Any = importlib.import_module("generated.types")
UnexpectedStatus: Any = importlib.import_module("generated.errors").UnexpectedStatus
DETAILED = {"sync_detailed", "asyncio_detailed"}
PAGE = 4
ACCEPT = "asked with `Accept: application/json` and no x-portkey header: the document promises JSON, OpenAI sends bytes"


@dataclass(frozen=True)
class Functions:
    """The generated functions of one form, such as `sync_detailed`."""

    scene: Scene
    form: str
    called: set[str]

    async def call(self, name: str, *args: Any, lane: str = "", key: str = "", **more: Any) -> Any:
        """Call a route; `name` is its module, such as `files.list_files`. Every object in the answer is checked."""
        path = f"{name}.{self.form}"
        self.called.add(path)
        # A reader of JSON alone, as the document promises, and no Portkey client: then a file's content is one text.
        headers = {"Accept": "application/json"} | ({"x-portkey-virtual-key": lane} if lane else {})
        client = generated.AuthenticatedClient(
            base_url=self.scene.url, token=key or self.scene.key, headers=headers, raise_on_unexpected_status=True
        )
        function = getattr(importlib.import_module(f"generated.api.{name}"), self.form)
        try:
            answer = await settled(function(*args, client=client, **more))
        finally:
            client.get_httpx_client().close()
            await client.get_async_httpx_client().aclose()
        parsed = answer.parsed if self.form in DETAILED else answer
        assert list(_unknown(parsed)) == [], "fields that the document does not know"
        return parsed

    async def until(self, batch_id: str, statuses: Iterable[str] = ENDS) -> Any:
        """Return the batch when it has one of these statuses."""
        return await until(lambda: self.call("batch.retrieve_batch", batch_id), statuses)

    async def refused(self, status: int, name: str, *args: Any, **more: Any) -> None:
        """Make a call that has to be answered with this status."""
        refusal = await raised(self.call(name, *args, **more), UnexpectedStatus)
        assert refusal.status_code == status, refusal

    async def create(self, lane: str = "", **more: Any) -> Any:
        """Create a batch; only this says where the lines go."""
        body = models.CreateBatchRequest.from_dict(self.scene.order(**more))
        return await self.call("batch.create_batch", body=body, lane=lane or self.scene.lane)

    async def upload(self, name: str, **more: Any) -> Any:
        """Upload the input file."""
        file = types.File(payload=io.BytesIO(self.scene.content), file_name=name, mime_type="application/jsonl")
        body = models.CreateFileRequest(file=file, purpose=models.CreateFileRequestPurpose.BATCH, **more)
        return await self.call("files.create_file", body=body)


def _unknown(thing: Any) -> Iterator[str]:
    """Yield the names of fields, at any depth, that the document does not declare. `x_` ones are ours beside it."""
    if isinstance(thing, list):
        for one in thing:
            yield from _unknown(one)
    elif hasattr(thing, "additional_properties"):
        if type(thing).__name__ != "MetadataType0":  # an object of free names
            yield from (name for name in thing.additional_properties if not name.startswith("x_"))
        for name in thing.__slots__ if hasattr(thing, "__slots__") else vars(thing):
            if name not in {"additional_properties", "__weakref__"}:
                yield from _unknown(getattr(thing, name))


async def a_file(f: Functions) -> None:
    """The generated form sends `expires_after` as a part of JSON."""
    anchor = models.FileExpirationAfterAnchor.CREATED_AT
    file = await f.upload("a b.jsonl", expires_after=models.FileExpirationAfter(anchor=anchor, seconds=7200))
    assert (file.filename, file.bytes_, file.purpose.value) == ("a b.jsonl", len(f.scene.content), "batch")
    assert file.expires_at == file.created_at + 7200
    again = await f.call("files.retrieve_file", file.id)
    assert again.id == file.id
    assert (await f.call("files.download_file", file.id)).encode() == f.scene.content
    gone = await f.call("files.delete_file", file.id)
    assert (gone.id, gone.deleted) == (file.id, True)
    await f.refused(404, "files.retrieve_file", file.id)


async def files_listed(f: Functions) -> None:
    """Page by page, every file once."""
    made = [(await f.upload(f"{n}.jsonl")).id for n in range(3)]
    newest = await f.call("files.list_files", limit=PAGE, purpose="batch")
    assert [file.id for file in newest.data][:3] == made[::-1]
    assert (newest.first_id, newest.last_id) == (newest.data[0].id, newest.data[-1].id)
    order = models.ListFilesOrder.DESC
    found: list[str] = []
    more = True
    while more:
        page = await f.call("files.list_files", limit=PAGE, order=order, after=found[-1] if found else types.UNSET)
        found += [file.id for file in page.data]
        more = page.has_more
    assert len(found) == len(set(found))
    assert set(found) >= {*made, f.scene.done["output"], f.scene.done["error"]}


async def a_batch(f: Functions) -> None:
    """Create to output, every field by its type."""
    batch = await f.create(input_file_id=f.scene.done["input"], metadata={"team": "data"})
    assert batch.status.value == "validating"
    batch = await f.until(batch.id)
    assert (batch.status.value, batch.model) == ("completed", f.scene.model)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (len(f.scene.answers), len(f.scene.failing))
    assert batch.metadata.additional_properties == {"team": "data"}
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    f.scene.check_output((await f.call("files.download_file", batch.output_file_id)).encode())
    f.scene.check_error((await f.call("files.download_file", batch.error_file_id)).encode())


async def batches_listed(f: Functions) -> None:
    """Page by page, every batch once."""
    whole = await f.call("batch.list_batches", limit=100)
    first = await f.call("batch.list_batches", limit=1)
    ids = [batch.id for batch in whole.data]
    assert ids[-1] == f.scene.done["batch"]
    assert (first.first_id, first.has_more) == (ids[0], len(ids) > 1)
    if len(ids) > 1:
        second = await f.call("batch.list_batches", limit=1, after=ids[0])
        assert second.data[0].id == ids[1]


async def a_cancel(f: Functions) -> None:
    """Cancelling, then cancelled."""
    batch = await f.create(lane=f.scene.slow, input_file_id=f.scene.done["input"])
    await f.until(batch.id, {"in_progress"})
    assert (await f.call("batch.cancel_batch", batch.id)).status.value == "cancelling"
    assert (await f.until(batch.id)).status.value == "cancelled"


async def faults(f: Functions) -> None:
    """A failed batch lists its faults, each field by its type."""
    with open(f.scene.broken, "rb") as stream:  # noqa: PTH123 - as users write it
        body = models.CreateFileRequest(
            file=types.File(payload=stream, file_name="b.jsonl"), purpose=models.CreateFileRequestPurpose.BATCH
        )
        file = await f.call("files.create_file", body=body)
    batch = await f.until((await f.create(input_file_id=file.id)).id)
    (fault,) = batch.errors.data
    assert (batch.status.value, fault.code, fault.line) == ("failed", "duplicate_custom_id", 3)


async def errors(f: Functions) -> None:
    """Statuses that the document does not name are told apart by their number."""
    done, stranger = f.scene.done, f.scene.stranger
    await f.refused(401, "batch.retrieve_batch", done["batch"], key="nobodys-key")
    await f.refused(400, "batch.list_batches", limit=0)
    await f.refused(404, "batch.retrieve_batch", stranger["batch"])
    await f.refused(404, "files.download_file", stranger["output"])
    await f.refused(409, "batch.cancel_batch", done["batch"])


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Functions], Awaitable[None]]], ...] = (
    (("files.create_file", "files.retrieve_file", "files.download_file", "files.delete_file"), a_file),
    (("files.list_files",), files_listed),
    (("batch.create_batch", "batch.retrieve_batch"), a_batch),
    (("batch.list_batches",), batches_listed),
    (("batch.cancel_batch",), a_cancel),
    (("errors of a failed batch",), faults),
    (("errors: 400, 401, 404, 409",), errors),
)


def surface(forms: Iterable[str]) -> set[str]:
    """Return the functions of these forms of all generated routes."""
    found = pkgutil.walk_packages(api.__path__, "generated.api.")
    names = [module.name.removeprefix("generated.api.") for module in found if not module.ispkg]
    return {f"{name}.{form}" for name in names for form in forms}


async def main(scene: Scene, kind: str) -> None:
    """Run every check in both forms and print the cells."""
    forms = ("sync", "sync_detailed") if kind == "sync" else ("asyncio", "asyncio_detailed")
    sheet = Sheet(scene.client)
    for form in forms:
        functions = Functions(scene, form, sheet.called)
        for names, check in CHECKS:
            cells = [name if " " in name else f"{name}.{form}" for name in names]
            await sheet.prove(cells, partial(check, functions), check.__name__)
        sheet.remarks[f"files.download_file.{form}"] = ACCEPT
    sheet.close(surface(forms))


if __name__ == "__main__":
    asyncio.run(main(Scene.load(sys.argv[1]), sys.argv[2]))
