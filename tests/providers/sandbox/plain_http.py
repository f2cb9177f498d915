"""Plain HTTP to a stand-in, for providers whose SDK has no batches or speaks another protocol."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY

EDGE = "an-edge-of-a-form"


@dataclass(frozen=True)
class Plain:
    """One account at one base URL."""

    url: str
    key: str = DEFAULT_KEY

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the JSON, or the bytes, of an answer."""
        data = None if body is None else json.dumps(body).encode()
        return self._sent(method, path, data, "application/json")

    def get(self, path: str) -> Any:
        """Return the JSON of a good answer."""
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def upload(self, content: bytes, *fields: tuple[str, str], path: str = "files") -> tuple[int, Any]:
        """Upload a file; `fields` in their order, "file" among them says where the file stands, else it is last."""
        parts = [*fields, *([] if ("file", "") in fields else [("file", "")])]
        form = b"".join(_part(name, content if name == "file" else text.encode()) for name, text in parts)
        kind = f"multipart/form-data; boundary={EDGE}"
        return self._sent("POST", path, form + f"--{EDGE}--\r\n".encode(), kind)

    def _sent(self, method: str, path: str, data: bytes | None, kind: str) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": kind}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                status, body = refused.code, refused.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body


def _part(name: str, value: bytes) -> bytes:
    filename = '; filename="in.jsonl"' if name == "file" else ""
    return f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + value + b"\r\n"


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    """Return lines as the bytes of a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
