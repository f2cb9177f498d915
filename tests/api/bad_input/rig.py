"""One gateway for many mistakes: what is asked is data, what is answered is compared whole."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stack import KEY, Gateway

OTHER_KEY, FEW_KEY, NO_KEYS_KEY = "key-of-another-workspace", "key-with-one-account", "key-with-no-account"
LANE = {"x-portkey-virtual-key": "lane"}
JSON = {"content-type": "application/json"}
ORDER = {"input_file_id": "file-unknown", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
INVALID = "invalid_request_error"
MAX_LINE, MAX_FILE = 4000, 2**20


@dataclass(frozen=True)
class Case:
    """One request and the whole error that answers it. A header of None is not sent."""

    name: str
    status: int
    message: str
    param: str | None = None
    code: str | None = None
    method: str = "POST"
    path: str = "/batches"
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""
    kind: str = INVALID

    def __str__(self) -> str:
        return self.name

    @property
    def error(self) -> dict[str, Any]:
        """The error object that the answer holds."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}


@dataclass(frozen=True)
class Answer:
    """An answer as it came; `error` and `value` are for those that are JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.value["error"]


@dataclass
class Rig(Gateway):
    """A gateway that is asked in ways that no client library would."""

    def ask(self, method: str, path: str, headers: Mapping[str, str | None] | None = None, body: bytes = b"") -> Answer:
        """Make one request on a connection of its own; the path is sent as it is, headers of None are left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, f"/v1{path}")
            for name, value in (
                {"x-portkey-api-key": KEY, "content-length": str(len(body))} | dict(headers or {})
            ).items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders()
            with suppress(ConnectionError):  # refused before all of it is sent; the answer says why
                connection.send(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def refused(self, case: Case) -> None:
        """Make the request of a case and compare the whole error."""
        answer = self.ask(case.method, case.path, case.headers, case.body)
        assert answer.headers["content-type"].startswith("application/json"), answer
        assert (answer.status, answer.error) == (case.status, case.error)
        assert answer.headers["x-portkey-trace-id"]

    def leftovers(self) -> list[str]:
        """Return what is in the folders of unfinished and of stored uploads."""
        folders = (self.data / name for name in ("files", "tmp"))
        return sorted(path.name for folder in folders for path in folder.rglob("*") if path.is_file())


def make_rig(home: Path, virtual_keys: dict[str, dict[str, Any]]) -> Rig:
    """Return a gateway that takes lines of 4,000 bytes and files of 1 MiB, not yet started.

    Its caller `other` sees what `tests` does not, `few` and `none` may use little or nothing.
    """
    api_keys: list[dict[str, Any]] = [
        {"name": "other", "key": OTHER_KEY, "workspace": "other"},
        {"name": "few", "key": FEW_KEY, "workspace": "few", "virtual_keys": ["lane"]},
        {"name": "none", "key": NO_KEYS_KEY, "workspace": "none", "virtual_keys": ["nothing"]},
    ]
    off = {"provider": "openai", "api_key": "os.environ/KEY_THAT_IS_NOT_SET"}
    limits = {"max_line_bytes": MAX_LINE, "max_file_bytes": MAX_FILE}
    return Rig(home, virtual_keys | {"off": off}, api_keys=api_keys, limits=limits)
