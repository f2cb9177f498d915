"""LiteLLM's SDK: `python -m tests.clients.litellm_python SCENE sync|async`.

Its calls take `extra_headers`, and some drop them (`list_batches`, `file_list`): what finds a file or a batch by its id
has to do with the caller's key alone, which LiteLLM sends as Bearer.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.clients.caller import each, raised, settled
from tests.clients.scene import ENDS, Scene, rows_of, until
from tests.clients.sheet import Sheet

litellm: Any = importlib.import_module("litellm")
openai: Any = importlib.import_module("openai")
MODULES = ("litellm.files.main", "litellm.batches.main")
LIMIT = 100


@dataclass(frozen=True)
class Functions:
    """LiteLLM's functions, those of one kind: `kind` async are the ones with an `a` before the name."""

    scene: Scene
    kind: str
    called: set[str]

    @property
    def prefix(self) -> str:
        """What stands before the names; cells carry the names without it."""
        return "a" if self.kind == "async" else ""

    async def call(self, name: str, *, lane: str = "", **more: Any) -> Any:
        """Call a function. With `lane` it is told the virtual key, else it has only the key of the caller."""
        self.called.add(name)
        headers = {"extra_headers": {"x-portkey-virtual-key": lane}} if lane else {}
        keys = {"custom_llm_provider": "openai", "api_base": self.scene.url, "api_key": self.scene.key}
        return await settled(getattr(litellm, self.prefix + name)(**keys | headers | more))

    async def until(self, batch_id: str, statuses: Iterable[str] = ENDS) -> Any:
        """Return the batch when it has one of these statuses."""
        return await until(lambda: self.call("retrieve_batch", batch_id=batch_id), statuses)

    async def content(self, file_id: str) -> bytes:
        """Return a file's bytes."""
        return bytes((await self.call("file_content", file_id=file_id)).content)

    async def refused(self, error: type[Exception], name: str, **more: Any) -> None:
        """Make a call that has to raise this class; LiteLLM's own classes are below OpenAI's."""
        await raised(self.call(name, **more), error)


async def a_file(f: Functions) -> None:
    """Upload to deletion, with the key of the caller alone."""
    content = f.scene.content
    file = await f.call("create_file", file=("a.jsonl", content), purpose="batch")
    assert (file.filename, file.bytes, file.purpose) == ("a.jsonl", len(content), "batch")
    again = await f.call("file_retrieve", file_id=file.id)
    assert (again.id, again.bytes, again.created_at) == (file.id, len(content), file.created_at)
    assert await f.content(file.id) == content
    gone = await f.call("file_delete", file_id=file.id)
    assert (gone.id, gone.deleted) == (file.id, True)
    await f.refused(openai.NotFoundError, "file_retrieve", file_id=file.id)


async def a_stream(f: Functions) -> None:
    """`file_content(stream=True)` gives pieces, not the whole."""
    answer = await f.call("file_content", file_id=f.scene.done["output"], stream=True, chunk_size=100)
    stream = answer.stream_iterator  # of both kinds at once
    pieces = [piece async for piece in stream] if f.kind == "async" else list(stream)
    assert len(pieces) > 1
    f.scene.check_output(b"".join(pieces))
    f.called.add("file_content_streaming")  # what file_content itself calls then; it wants LiteLLM's own log object
    assert type(answer).__name__ == "FileContentStreamingResult"


async def files_listed(f: Functions) -> None:
    """All files of the workspace, each once."""
    made = [(await f.call("create_file", file=(f"{n}.jsonl", b"{}\n"), purpose="batch")).id for n in range(3)]
    for purpose, wanted in (("batch", made), ("batch_output", [f.scene.done["output"]])):
        found = [file.id async for file in each(await f.call("file_list", purpose=purpose))]
        assert set(found) >= set(wanted)
        assert len(found) == len(set(found))
        assert bool(set(found) & set(made)) == (purpose == "batch")


async def a_batch(f: Functions) -> None:
    """Upload to output; only the create says where it goes."""
    file = await f.call("create_file", file=f.scene.path.open("rb"), purpose="batch")
    order = f.scene.order(input_file_id=file.id, metadata={"team": "data"})
    batch = await f.call("create_batch", lane=f.scene.lane, **order)
    assert (batch.status, batch.input_file_id) == ("validating", file.id)
    batch = await f.until(batch.id)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.failed) == ("completed", f.scene.total, len(f.scene.failing))
    assert batch.metadata == {"team": "data"}
    f.scene.check_output(await f.content(batch.output_file_id))
    f.scene.check_error(await f.content(batch.error_file_id))


async def batches_listed(f: Functions) -> None:
    """Page by page, every batch once."""
    order = f.scene.order(input_file_id=f.scene.done["input"])
    made = [(await f.call("create_batch", lane=f.scene.lane, **order)).id for _ in range(3)]
    whole = [batch.id for batch in (await f.call("list_batches", limit=LIMIT)).data]
    assert whole[:3] == made[::-1]
    first = await f.call("list_batches", limit=2)
    second = await f.call("list_batches", limit=2, after=first.data[-1].id)
    assert [batch.id for batch in (*first.data, *second.data)] == whole[:4]
    for batch_id in made:
        await f.until(batch_id)


async def a_cancel(f: Functions) -> None:
    """Cancelling, then cancelled, and every line accounted for."""
    order = f.scene.order(input_file_id=f.scene.done["input"])
    batch = await f.call("create_batch", lane=f.scene.slow, **order)
    await f.until(batch.id, {"in_progress"})
    assert (await f.call("cancel_batch", batch_id=batch.id)).status == "cancelling"
    ended = await f.until(batch.id)
    assert ended.status == "cancelled"
    files = [file_id for file_id in (ended.output_file_id, ended.error_file_id) if file_id]
    rows = [row["custom_id"] for file_id in files for row in rows_of(await f.content(file_id))]
    assert sorted(rows) == sorted([*f.scene.answers, *f.scene.failing])


async def errors(f: Functions) -> None:
    """LiteLLM raises OpenAI's classes, or its own below them."""
    done, stranger = f.scene.done, f.scene.stranger
    await f.refused(openai.AuthenticationError, "retrieve_batch", batch_id=done["batch"], api_key="nobodys-key")
    order = {"endpoint": "/v1/no/such", "completion_window": "24h", "input_file_id": done["input"]}
    await f.refused(openai.BadRequestError, "create_batch", lane=f.scene.lane, **order)
    for batch_id in ("batch_none", stranger["batch"]):
        await f.refused(openai.NotFoundError, "retrieve_batch", batch_id=batch_id)
        await f.refused(openai.NotFoundError, "cancel_batch", batch_id=batch_id)
    for file_id in ("file-none", stranger["output"]):
        await f.refused(openai.NotFoundError, "file_content", file_id=file_id)
        await f.refused(openai.NotFoundError, "file_delete", file_id=file_id)
    await f.refused(openai.ConflictError, "cancel_batch", batch_id=done["batch"])


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Functions], Awaitable[None]]], ...] = (
    (("create_file", "file_retrieve", "file_content", "file_delete"), a_file),
    (("file_list",), files_listed),
    (("create_batch", "retrieve_batch"), a_batch),
    (("list_batches",), batches_listed),
    (("cancel_batch",), a_cancel),
    (("errors: 400, 401, 404, 409",), errors),
)


def surface(kind: str) -> set[str]:
    """Return the public functions of LiteLLM's files and batches modules, those of one kind."""
    names = {name for name in dir(litellm) if getattr(getattr(litellm, name), "__module__", "") in MODULES}
    twins = {name for name in names if name.startswith("a") and name[1:] in names}
    return {name[1:] for name in twins} if kind == "async" else names - twins


async def main(scene: Scene, kind: str) -> None:
    """Run every check and print the cells."""
    sheet = Sheet(scene.client)
    functions = Functions(scene, kind, sheet.called)
    streamed = ("file_content with stream=True", *(["file_content_streaming"] if kind == "sync" else []))
    for names, check in (*CHECKS, (streamed, a_stream)):
        await sheet.prove(names, partial(check, functions), check.__name__)
    sheet.remarks["file_content_streaming"] = "what file_content(stream=True) calls; not to be called by users"
    sheet.close(surface(kind))


if __name__ == "__main__":
    asyncio.run(main(Scene.load(sys.argv[1]), sys.argv[2]))
