"""A client of the Uploads routes."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.files_app import ALICE, FORM_TYPE, auth, closing, part

MEGABYTE = 2**20


@dataclass
class Client:
    """Somebody who calls the routes."""

    port: int
    session: aiohttp.ClientSession
    key: str = ALICE

    async def post(self, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """POST JSON and return the status and the JSON of the answer."""
        data = json.dumps({} if body is None else body).encode()
        url = f"http://127.0.0.1:{self.port}/v1{path}"
        async with self.session.post(url, data=data, headers=auth(self.key)) as reply:
            return reply.status, await reply.json()

    async def announce(self, size: int, **more: Any) -> dict[str, Any]:
        """Create an upload and return it."""
        body = {"filename": "in.jsonl", "purpose": "batch", "bytes": size, "mime_type": "application/jsonl"} | more
        status, upload = await self.post("/uploads", body)
        assert status == 200, upload
        return upload

    async def part(self, upload_id: str, data: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send one part."""
        form = part("data", data, "blob") + closing()
        if headers.get("Content-Encoding") == "gzip":
            form = gzip.compress(form)
        url = f"http://127.0.0.1:{self.port}/v1/uploads/{upload_id}/parts"
        given = auth(self.key) | {"Content-Type": FORM_TYPE} | headers
        async with self.session.post(url, data=io.BytesIO(form), headers=given) as reply:
            return reply.status, await reply.json()

    async def parts(self, upload_id: str, *contents: bytes) -> list[str]:
        """Send parts and return their ids."""
        answers = [await self.part(upload_id, data) for data in contents]
        assert [status for status, _ in answers] == [200] * len(contents), answers
        return [found["id"] for _, found in answers]

    async def complete(self, upload_id: str, part_ids: object, **more: Any) -> tuple[int, dict[str, Any]]:
        """Complete an upload."""
        return await self.post(f"/uploads/{upload_id}/complete", {"part_ids": part_ids, **more})
