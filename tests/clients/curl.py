"""curl against every route of the gateway, with and without /v1: `python -m tests.clients.curl SCENE /v1|/`.

The routes come from the gateway itself, so a new route without a check is a red cell.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

import proxy_plugin
from tests.clients.scene import ENDS, PATIENCE, Scene, rows_of
from tests.clients.sheet import Sheet
from tests.support.ports import free_port
from tests.support.waiting import until

JSON = "content-type: application/json"
EDGE = "edge-of-curl"


@dataclass(frozen=True)
class Answer:
    """What curl got. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which has to be JSON and say so."""
        assert self.headers["content-type"].split(";")[0] == "application/json", self.headers
        return json.loads(self.body)


@dataclass(frozen=True)
class Curl:
    """curl with the caller's key; `root` is /v1 or nothing."""

    scene: Scene
    root: str
    routes: dict[str, re.Pattern[str]]
    called: set[str]

    def __call__(
        self, method: str, path: str, *arguments: str, lane: str = "lane", key: str = "", want: int = 200
    ) -> Answer:
        """Make a request and return the answer, which has to have this status."""
        where = path.partition("?")[0]
        self.called.update(cell for cell, shape in self.routes.items() if shape.fullmatch(f"{method} {where}"))
        caller = ["-H", f"x-portkey-api-key: {key or self.scene.key}", "-H", f"x-portkey-virtual-key: {lane}"]
        how = ["--head"] if method == "HEAD" else ["-X", method]
        place = self.scene.path.with_name(f"{self.scene.client}.answer")
        report = ["-o", str(place), "-w", '{"status": %{http_code}, "headers": %{header_json}}']
        base = self.scene.url.removesuffix("/v1") + self.root
        command = ["curl", "-sS", "-g", *how, *caller, *report, *arguments, base + path]
        place.write_bytes(b"")
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        headers = {name.lower(): values[-1] for name, values in told["headers"].items()}
        answer = Answer(told["status"], headers, place.read_bytes())
        assert answer.status == want, f"{answer.status}: {answer.body[:300]!r}"
        return answer

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        """Post JSON."""
        return self("POST", path, "-H", JSON, "-d", json.dumps({} if body is None else body), **more)

    def refused(self, status: int, method: str, path: str, *arguments: str, **more: Any) -> Any:
        """Make a request that has to be refused in OpenAI's shape, and return the error."""
        error = self(method, path, *arguments, want=status, **more).json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return error

    def upload(self, *fields: str) -> Any:
        """Upload the input file, `file` before `purpose`, as several documents show it."""
        more = [argument for field in fields for argument in ("-F", field)]
        return self("POST", "/files", "-F", f"file=@{self.scene.input}", "-F", "purpose=batch", *more).json

    def until(self, batch_id: str, statuses: Iterable[str] = ENDS) -> Any:
        """Return the batch when it has one of these statuses."""
        wanted = set(statuses)
        until(lambda: self("GET", f"/batches/{batch_id}").json["status"] in wanted, f"a status of {wanted}", PATIENCE)
        return self("GET", f"/batches/{batch_id}").json

    def content(self, file_id: str) -> bytes:
        """Return a file's bytes."""
        return self("GET", f"/files/{file_id}/content").body


async def a_file(curl: Curl) -> None:
    """Upload, read, list, delete."""
    for fields in (
        ("expires_after[anchor]=created_at", "expires_after[seconds]=7200"),
        ("expires_after.anchor=created_at", "expires_after.seconds=7200"),
        ('expires_after={"anchor": "created_at", "seconds": 7200};type=application/json',),
    ):
        file = curl.upload(*fields)
        assert file["expires_at"] == file["created_at"] + 7200, fields
    assert (file["filename"], file["bytes"]) == (curl.scene.path.name, len(curl.scene.content))
    again = curl("GET", f"/files/{file['id']}").json
    assert again | {"status": ""} == file | {"status": ""}
    page = curl("GET", "/files?limit=1&purpose=batch").json
    assert (page["data"][0]["id"], page["has_more"]) == (file["id"], True)
    assert curl("DELETE", f"/files/{file['id']}").json == {"id": file["id"], "object": "file", "deleted": True}
    assert curl.refused(404, "GET", f"/files/{file['id']}")["code"] is None


async def content(curl: Curl) -> None:
    """Whole, in ranges, the head alone; a JSON text for who accepts nothing else and is no SDK."""
    path, whole = f"/files/{curl.scene.done['output']}/content", curl.content(curl.scene.done["output"])
    curl.scene.check_output(whole)
    part = curl("GET", path, "-r", "5-14", want=206)
    assert (part.body, part.headers["content-range"]) == (whole[5:15], f"bytes 5-14/{len(whole)}")
    assert curl("GET", path, "-r", "-7", want=206).body == whole[-7:]
    assert curl.refused(416, "GET", path, "-r", f"{len(whole)}-")["code"] == "range_not_satisfiable"
    head = curl("HEAD", path)
    assert (head.headers["content-length"], head.headers["accept-ranges"]) == (str(len(whole)), "bytes")
    plain = ["-H", "accept: application/json"]
    text = subprocess.run(
        ["curl", "-sS", *plain, "-H", f"authorization: Bearer {curl.scene.key}", curl.scene.url + path],
        capture_output=True,
        check=True,
    )
    assert json.loads(text.stdout).encode() == whole
    sdk = [*plain, "-H", "x-stainless-lang: python"]
    assert curl("GET", path, *sdk).body == whole


async def encodings(curl: Curl) -> None:
    """A gzipped form, a chunked one, one behind `Expect: 100-continue`; other encodings are refused."""
    content = curl.scene.content
    form = b"".join(
        (
            f'--{EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
            f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'.encode(),
            content,
            f"\r\n--{EDGE}--\r\n".encode(),
        )
    )
    body = curl.scene.path.with_name(f"{curl.scene.client}.form")
    kind = ["-H", f"content-type: multipart/form-data; boundary={EDGE}", "--data-binary", f"@{body}"]
    for bytes_, headers in (
        (gzip.compress(form), ["-H", "content-encoding: gzip"]),
        (form, ["-H", "transfer-encoding: chunked"]),
        (form, ["-H", "expect: 100-continue"]),
    ):
        body.write_bytes(bytes_)
        file = curl("POST", "/files", *kind, *headers).json
        assert curl.content(file["id"]) == content, headers
    curl.refused(415, "POST", "/files", *kind, "-H", "content-encoding: br")


async def a_batch(curl: Curl) -> None:
    """Create to output, with the native jobs on request."""
    order = curl.scene.order(input_file_id=curl.scene.done["input"], metadata={"team": "data"})
    batch = curl.post("/batches", order).json
    assert batch["status"] == "validating"
    batch = curl.until(batch["id"])
    assert (batch["status"], batch["metadata"]) == ("completed", {"team": "data"})
    curl.scene.check_output(curl.content(batch["output_file_id"]))
    curl.scene.check_error(curl.content(batch["error_file_id"]))
    (job,) = curl("GET", f"/batches/{batch['id']}?include=jobs").json["jobs"]
    assert (job["part"], job["provider"], job["virtual_key"], job["status"]) == (0, "openai", "lane", "collected")
    assert (job["attempts"], job["request_counts"], job["model"]) == (1, batch["request_counts"], curl.scene.model)
    assert curl.refused(400, "GET", f"/batches/{batch['id']}?include=nothing")["param"] == "include"
    page = curl("GET", "/batches?limit=1&include=jobs").json
    assert page["data"][0]["id"] == page["first_id"] == page["last_id"]
    assert page["data"][0]["jobs"]


async def a_cancel(curl: Curl) -> None:
    """Cancelling, then cancelled; what waits for the end of a batch says so before."""
    order = curl.scene.order(input_file_id=curl.scene.done["input"])
    batch = curl.post("/batches", order, lane="slow").json
    path = f"/batches/{batch['id']}"
    curl.until(batch["id"], {"in_progress"})
    assert rows_of(curl("GET", f"{path}/output").body) == []
    assert curl.refused(409, "GET", f"{path}/lines")["code"] == "batch_not_ended"
    assert curl.refused(409, "POST", f"{path}/retry", "-H", JSON, "-d", "{}")["code"] == "batch_not_ended"
    assert curl.post(f"{path}/cancel").json["status"] == "cancelling"
    assert curl.until(batch["id"])["status"] == "cancelled"


async def output(curl: Curl) -> None:
    """Portkey's route: every row in input order."""
    path = f"/batches/{curl.scene.done['batch']}/output"
    answer = curl("GET", path)
    assert answer.headers["content-type"] == "application/octet-stream"
    curl.scene.check_all(answer.body)
    curl("HEAD", path)


async def lines(curl: Curl) -> None:
    """The ledger, whole, filtered, page by page."""
    path = f"/batches/{curl.scene.done['batch']}/lines"
    answer = curl("GET", path)
    assert answer.headers["content-type"].split(";")[0] == "application/jsonl"
    whole = rows_of(answer.body)
    assert [row["line"] for row in whole] == list(range(1, curl.scene.total + 1))
    assert [row["custom_id"] for row in whole] == [row["custom_id"] for row in rows_of(curl.scene.content)]
    assert {row["virtual_key"] for row in whole} == {"lane"}
    failed = rows_of(curl("GET", f"{path}?outcome=failed").body)
    assert {row["custom_id"] for row in failed} == set(curl.scene.failing)
    assert rows_of(curl("GET", f"{path}?after=2&limit=3").body) == whole[2:5]
    curl.refused(400, "GET", f"{path}?limit=-1")


async def a_retry(curl: Curl) -> None:
    """Only the lines that failed are sent again; what has none is refused."""
    path = f"/batches/{curl.scene.done['batch']}/retry"
    batch = curl.until(curl.post(path, {"metadata": {"again": "yes"}}).json["id"])
    assert (batch["request_counts"]["total"], batch["metadata"]["again"]) == (len(curl.scene.failing), "yes")
    curl.scene.check_error(curl.content(batch["error_file_id"]))
    good = curl.scene.path.with_name(f"{curl.scene.client}.good")
    good.write_bytes(curl.scene.content.split(b"\n")[0] + b"\n")
    file = curl("POST", "/files", "-F", f"file=@{good}", "-F", "purpose=batch").json
    fine = curl.until(curl.post("/batches", curl.scene.order(input_file_id=file["id"])).json["id"])
    assert curl.refused(400, "POST", f"/batches/{fine['id']}/retry")["code"] == "nothing_to_retry"


async def a_plan(curl: Curl) -> None:
    """Spends nothing and says what a create would do, and what is wrong with which line."""
    before = curl("GET", "/batches?limit=100").json["data"]
    plan = curl.post("/batches/plan", curl.scene.order(input_file_id=curl.scene.done["input"])).json
    counts = {"total": curl.scene.total, "valid": curl.scene.total, "rejected": 0}
    assert (plan["object"], plan["request_counts"], plan["jobs"]) == ("batch.plan", counts, 1)
    (target,) = plan["targets"]
    assert (target["virtual_key"], target["model"]) == ("lane", curl.scene.model)
    assert (target["lines"], target["jobs"]) == (curl.scene.total, 1)
    file = curl("POST", "/files", "-F", "purpose=batch", "-F", f"file=@{curl.scene.broken}").json
    plan = curl.post("/batches/plan", curl.scene.order(input_file_id=file["id"])).json
    (fault,) = plan["errors"]["data"]
    assert (fault["code"], fault["line"]) == ("duplicate_custom_id", 3)
    assert curl("GET", "/batches?limit=100").json["data"] == before


async def uploads(curl: Curl) -> None:
    """OpenAI's Uploads by hand."""
    content = curl.scene.content
    order = {"purpose": "batch", "filename": "large.jsonl", "bytes": len(content), "mime_type": "application/jsonl"}
    upload = curl.post("/uploads", order).json
    parts = []
    for piece in (content[:500], content[500:]):
        path = curl.scene.path.with_name(f"{curl.scene.client}.part")
        path.write_bytes(piece)
        parts.append(curl("POST", f"/uploads/{upload['id']}/parts", "-F", f"data=@{path}").json["id"])
    body = {"part_ids": parts, "md5": hashlib.md5(content).hexdigest()}
    done = curl.post(f"/uploads/{upload['id']}/complete", body).json
    assert (done["status"], done["file"]["bytes"]) == ("completed", len(content))
    assert curl.content(done["file"]["id"]) == content
    other = curl.post("/uploads", order).json
    assert curl.post(f"/uploads/{other['id']}/cancel").json["status"] == "cancelled"


async def models(curl: Curl) -> None:
    """What the caller can reach."""
    name = f"@{curl.scene.lane}/{curl.scene.model}"
    assert name in [model["id"] for model in curl("GET", "/models").json["data"]]
    assert curl("GET", f"/models/{name}").json["id"] == name


async def errors(curl: Curl) -> None:
    """One shape for all of them."""
    assert curl.refused(401, "GET", "/files", key="nobodys-key")["code"] == "invalid_api_key"
    assert curl.refused(400, "GET", "/batches?limit=0")["param"] == "limit"
    curl.refused(400, "POST", "/batches", "-H", JSON, "-d", "{not json")
    curl.refused(404, "GET", f"/batches/{curl.scene.stranger['batch']}")
    curl.refused(404, "GET", "/files/no/such/route")
    curl.refused(405, "PUT", "/batches")
    curl.refused(409, "POST", f"/batches/{curl.scene.done['batch']}/cancel")


async def operations(curl: Curl) -> None:
    """Without a key, and only below the root."""
    base = curl.scene.url.removesuffix("/v1")
    for name in ("healthz", "readyz", "metrics"):
        curl.called.add(f"GET /{name}")
        subprocess.run(["curl", "-sS", "--fail-with-body", f"{base}/{name}"], capture_output=True, check=True)


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Curl], Awaitable[None]]], ...] = (
    (("POST /files", "GET /files", "GET /files/{file_id}", "DELETE /files/{file_id}"), a_file),
    (("GET /files/{file_id}/content", "HEAD /files/{file_id}/content"), content),
    (("upload: gzip, chunked, 100-continue",), encodings),
    (("POST /batches", "GET /batches", "GET /batches/{batch_id}"), a_batch),
    (("POST /batches/{batch_id}/cancel",), a_cancel),
    (("GET /batches/{batch_id}/output", "HEAD /batches/{batch_id}/output"), output),
    (("GET /batches/{batch_id}/lines",), lines),
    (("POST /batches/{batch_id}/retry",), a_retry),
    (("POST /batches/plan",), a_plan),
    (
        (
            "POST /uploads",
            "POST /uploads/{upload_id}/parts",
            "POST /uploads/{upload_id}/complete",
            "POST /uploads/{upload_id}/cancel",
        ),
        uploads,
    ),
    (("GET /models", "GET /models/{model}"), models),
    (("errors: 400, 401, 404, 405, 409",), errors),
    (("GET /healthz", "GET /readyz", "GET /metrics"), operations),
)


def routes(folder: Path, root: str) -> dict[str, re.Pattern[str]]:
    """Return the gateway's own routes below a root, as "GET /files/{file_id}" and what fits it."""
    config = {
        "proxy_plugin": {
            "storage": {"data_dir": str(folder / "no-data")},
            "server": {"port": free_port()},
            "api_keys": [{"name": "nobody", "key": "a-key-that-nobody-uses"}],
        }
    }
    app = web.Application()
    proxy_plugin.setup(app, config)
    found = [(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None]
    known = [(method, path) for method, path in found if method != "*" and path.startswith("/v1/") == (root == "/v1")]
    shapes = ((method, path.removeprefix(root)) for method, path in known)
    return {f"{method} {path}": re.compile(f"{method} {_shape(path)}") for method, path in shapes}


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "[^/]+", path.replace("{model}", ".+"))  # a model's name has a slash


async def main(scene: Scene, root: str) -> None:
    """Run every check and print the cells."""
    sheet = Sheet(scene.client)
    known = routes(scene.path.parent, root)
    curl = Curl(scene, root, known, sheet.called)
    for names, check in CHECKS:
        if check is not operations or not root:
            await sheet.prove(names, partial(check, curl), check.__name__)
    sheet.close(known)


if __name__ == "__main__":
    asyncio.run(main(Scene.load(sys.argv[1]), sys.argv[2].rstrip("/")))
