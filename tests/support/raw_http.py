"""One HTTP call of a client that decodes nothing: status, headers and bytes as they came."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.stack import HEADERS, Gateway


class Raw(NamedTuple):
    """An answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def raw(
    gateway: Gateway, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Raw:
    """Make one call on a connection of its own; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    try:
        connection.request(method, f"/v1{path}", body, HEADERS | dict(headers or {}))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Raw(answer.status, found, answer.read())
    finally:
        connection.close()
