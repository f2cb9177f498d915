"""What is no HTTP at all is answered in OpenAI's shape, with a request id, and nothing of it is repeated or logged."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.api.bad_input.rig import Rig

SECRET = b"sk-a-key-that-nobody-may-see"
HEAD = b"POST /v1/batches HTTP/1.1\r\nHost: gateway\r\n"


def sent(rig: Rig, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return the answer, after which the server closes."""
    with socket.create_connection(("127.0.0.1", rig.port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := connection.recv(65536)):
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(headers["content-length"]) and (piece := connection.recv(65536)):
            body += piece
    return int(lines[0].split()[1]), headers, body


@pytest.mark.parametrize(
    "data",
    [
        SECRET + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" + SECRET,
        b"FETCH /v1/files?key=" + SECRET + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/" + SECRET * 2000 + b" HTTP/1.1\r\n\r\n",
        b"GET http://[" + SECRET + b"/v1 HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET /v1/files HTTP/9.9 " + SECRET + b"\r\n\r\n",
        HEAD + b"x-portkey-api-key " + SECRET + b"\r\n\r\n",
        HEAD + b"x-portkey-config: " + SECRET * 2000 + b"\r\n\r\n",
        HEAD + b"Content-Length: " + SECRET + b"\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nx: " + SECRET + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_cannot_be_read_is_answered_like_everything_else(rig: Rig, data: bytes) -> None:
    status, headers, body = sent(rig, data)
    assert (status, headers["content-type"].partition(";")[0]) == (400, "application/json")
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["server"] == "proxy-plugin"
    error = json.loads(body)["error"]
    assert error["message"].startswith("This request cannot be read as HTTP. ")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    rig.until_event(lambda log: headers["x-request-id"] in log)
    assert SECRET.decode() not in body.decode() + rig.log.read_text()
