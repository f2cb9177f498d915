"""HTTP to one gateway: JSON calls, an upload from disk, a download in blocks.

The standard library's client, not aiohttp: it is loaded in 0.06 s instead of 0.41 s, a command makes one call at a
time, Ctrl-C ends a blocking call at once, and an answer that comes while a body is still being sent can be read.
Redirects are not followed: they would carry the caller's key to another host.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import select
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from proxy_plugin import __version__
from proxy_plugin.commands.input_file import FileForm
from proxy_plugin.commands.problems import Misuse, Refused, Unreachable
from proxy_plugin.commands.wording import clean, mapping

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 120.0  # without a byte
LONG_SECONDS = 900.0  # until an upload is on the gateway's disk, or a plan of it is made
ANSWER_BYTES = 64 * 1024 * 1024  # of one JSON answer
BLOCK_BYTES = 64 * 1024
_SHOWN = 1_000  # characters of a gateway's message


class Transport:
    """One gateway, by its base URL, and the headers that every request carries. Each request has its own connection."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        """Raise Misuse for what is no base URL."""
        self.base_url = base_url.rstrip("/")
        self._url = _parsed(self.base_url)
        self._headers = {"User-Agent": f"proxy-plugin/{__version__}", "Accept": "*/*"} | dict(headers)
        self._proxy = _proxy(self._url)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Make one call and return the JSON object it answers. Raises Unreachable, Refused."""
        content = None if body is None else json.dumps(body).encode()
        more = {} if content is None else {"Content-Type": "application/json", "Content-Length": str(len(content))}
        with self._request(method, path, more | dict(headers or {}), seconds) as connection:
            if content is not None:
                connection.send(content)
            return self._object(connection)

    def upload(self, path: str, form: FileForm, sent: Callable[[int], None]) -> dict[str, Any]:
        """Send a form and return the JSON object it answers; `sent` is told the bytes of every block.

        An answer that comes before the end is a refusal, so the rest is not sent. Raises Unreachable, Refused, Misuse.
        """
        headers = {"Content-Type": form.content_type, "Content-Length": str(form.length)}
        with self._request("POST", path, headers, LONG_SECONDS) as connection:
            for block in form.blocks():
                if _answered(connection) or not _taken(connection, block):
                    break
                sent(len(block))
            return self._object(connection)

    def download(self, path: str) -> Iterator[bytes]:
        """Yield the body of an answer in blocks. Raises Unreachable, also for one that was cut off, and Refused."""
        with self._request("GET", path, {}, ANSWER_SECONDS) as connection:
            response = self._response(connection)
            if "html" in response.getheader("Content-Type", ""):
                raise self._no_gateway("a web page")
            due, got = response.getheader("Content-Length", ""), 0
            while block := response.read(BLOCK_BYTES):
                got += len(block)
                yield block
            if due.isdigit() and got != int(due):
                raise http.client.IncompleteRead(b"", int(due) - got)

    @contextmanager
    def _request(
        self, method: str, path: str, headers: Mapping[str, str], seconds: float
    ) -> Iterator[http.client.HTTPConnection]:
        """Send the head of a request; what breaks from then on leaves open whether it arrived."""
        connection = self._connected(seconds)
        try:
            connection.putrequest(method, self._target(path), skip_accept_encoding=True)
            for name, value in ({**self._headers, **self._proxy_headers(), **headers}).items():
                connection.putheader(name, value)
            connection.endheaders()
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._where()} {_broken(error)}.", sent=True) from None
        finally:
            connection.close()

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        connection = self._connection()
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_no_connection(self._where(), error), sent=False) from None
        assert connection.sock is not None
        connection.sock.settimeout(seconds)
        return connection

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        host, port = self._url.hostname or "", self._url.port
        if self._proxy is None:
            return kind(host, port, timeout=CONNECT_SECONDS)
        connection = kind(self._proxy.hostname or "", self._proxy.port or 80, timeout=CONNECT_SECONDS)
        if self._url.scheme == "https":
            connection.set_tunnel(host, port, _credentials(self._proxy))
        return connection

    def _proxy_headers(self) -> dict[str, str]:
        plain = self._proxy is not None and self._url.scheme == "http"
        return _credentials(self._proxy) if plain and self._proxy is not None else {}

    def _target(self, path: str) -> str:
        through_proxy = self._proxy is not None and self._url.scheme == "http"
        root = f"http://{self._url.netloc}" if through_proxy else ""
        return f"{root}{self._url.path}{path}"

    def _where(self) -> str:
        return f"the gateway at {self.base_url}"

    def _response(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        response = connection.getresponse()
        if response.status >= 400:
            raise _refusal(response)
        if response.status >= 300:
            raise self._no_gateway(f"a redirect ({response.status}), which is not followed because it gets your key")
        return response

    def _object(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        response = self._response(connection)
        content = response.read(ANSWER_BYTES)
        due = response.getheader("Content-Length", "")
        if due.isdigit() and len(content) < min(int(due), ANSWER_BYTES):
            raise http.client.IncompleteRead(content)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise self._no_gateway("something that is no JSON") from None
        if not isinstance(value, dict):
            raise self._no_gateway("JSON that is no object")
        return value

    def _no_gateway(self, what: str) -> Unreachable:
        return Unreachable(f"{self._where()} answers {what}: check --base-url.", sent=True)


def _parsed(base_url: str) -> urllib.parse.SplitResult:
    try:
        url = urllib.parse.urlsplit(base_url)
        fine = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        fine = False
    if not fine or url.username is not None or url.query or url.fragment or not base_url.isascii() or " " in base_url:
        raise Misuse("the base URL has to look like http://127.0.0.1:8787/v1: give it with --base-url.")
    return url


def _proxy(url: urllib.parse.SplitResult) -> urllib.parse.SplitResult | None:
    """Return the proxy that the environment names for this URL; this machine is never reached through one."""
    named = urllib.request.getproxies().get(url.scheme)
    host = url.hostname or ""
    if not named or _loopback(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.parse.urlsplit(named if "://" in named else f"http://{named}")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _answered(connection: http.client.HTTPConnection) -> bool:
    """Tell whether an answer is there. With TLS nobody can tell without reading: tickets arrive unasked."""
    sock = connection.sock
    if sock is None or isinstance(sock, ssl.SSLSocket):
        return False
    return bool(select.select([sock], [], [], 0)[0])


def _taken(connection: http.client.HTTPConnection, block: bytes) -> bool:
    """Send a block; a gateway that has hung up may have left an answer all the same."""
    try:
        connection.send(block)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _refusal(response: http.client.HTTPResponse) -> Refused:
    try:
        value = json.loads(response.read(ANSWER_BYTES))
    except (ValueError, RecursionError, OSError, http.client.HTTPException):
        value = None
    error = _error_in(value)
    reason = (
        clean(error.get("message")).strip()[:_SHOWN] or f"{clean(response.reason) or 'no reason'}, without a message"
    )
    return Refused(
        response.status,
        reason,
        error_code=_text(error.get("code")),
        param=_text(error.get("param")),
        retry=response.getheader("x-should-retry") != "false",
    )


def _error_in(value: object) -> Mapping[str, Any]:
    """Return the error of OpenAI's envelope, of one whose `error` is text, or of none (Portkey's own refusals)."""
    answer = mapping(value)
    error = answer.get("error")
    return {"message": error} if isinstance(error, str) else mapping(error) or answer


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _no_connection(where: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} shows a certificate that is not trusted: name its authority's file in SSL_CERT_FILE."
    if isinstance(error, ssl.SSLError):
        return f"{where} does not speak TLS: check whether its base URL begins with http://."
    return f"{where} cannot be reached ({_reason(error)}): start it with `proxy-plugin serve`, or give its --base-url."


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return clean(getattr(error, "strerror", None)).lower() or clean(error) or type(error).__name__


def _broken(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, http.client.BadStatusLine | http.client.IncompleteRead | ConnectionError):
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
            return "does not answer in HTTP: check --base-url"
        return "closed the connection early: look at its log, then try again"
    return f"broke off ({_reason(error)}): try again"
