"""Signed URLs: `PREFIX/signed/TOKEN?expires=...`, where a file is stored or read.

Whoever has one needs no key, and who sends one is refused, as S3 refuses a second way to authenticate.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File, Files, content
from proxy_plugin.providers.sandbox.replies import Refused, Reply

SIGNED, BESIDE = "/signed/{token}", "/signed/beside/{token}"
LINK_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Link:
    file: File
    until: float
    headers: Mapping[str, str]


class Links:
    """The signed URLs of a stand-in."""

    def __init__(self, services: Services, files: Files, prefix: str) -> None:
        """`prefix`: the path under which the dialect's routes are."""
        self._services, self._files, self._signed = services, files, f"{prefix}/signed/"
        self._links: dict[str, _Link] = {}

    def reset(self) -> None:
        self._links = {}

    def sign(
        self, request: web.Request, file: File, headers: Mapping[str, str] | None = None, *, beside: bool = False
    ) -> str:
        """A URL for this file, good for the next minutes, with these `headers` alone.

        `beside`: for what lies beside results, so that faults of those do not meet it.
        """
        token, until = secrets.token_urlsafe(12), self._services.clock.now() + LINK_SECONDS
        self._links[token] = _Link(file, until, headers or {})
        aside = "beside/" if beside else ""
        return f"{request.scheme}://{request.host}{self._signed}{aside}{token}?expires={until:.0f}"

    def bearer(self, request: web.Request) -> str | None:
        """The account of a signed URL; None for any other. Raises `Refused`."""
        if not request.path.startswith(self._signed):
            return None
        if "authorization" in request.headers:
            raise _refused(400, "InvalidArgument")
        link = self._links.get(request.match_info.get("token", ""))
        if link is None or self._services.clock.now() > link.until:
            raise _refused(403, "AccessDenied")
        if any(request.headers.get(name) != value for name, value in link.headers.items()):
            raise _refused(403, "SignatureDoesNotMatch")
        return link.file.account

    def routes(self) -> list[Route]:
        """Those behind signed URLs."""
        return [
            Route("PUT", SIGNED, "store.put", self._put),
            Route("GET", SIGNED, "store.get", self._get),
            Route("GET", BESIDE, "store.get_beside", self._get),
        ]

    async def _put(self, request: web.Request, _: str) -> Act:
        file = self._links[request.match_info["token"]].file
        if request.content_length is None:
            raise _refused(411, "MissingContentLength")
        await self._files.fill(file, request.content.iter_any())

        async def act() -> Reply:
            return Reply(200, headers={"etag": '"0"'}, subject=file.id)

        return act

    async def _get(self, request: web.Request, _: str) -> Act:
        file = self._links[request.match_info["token"]].file

        async def act() -> Reply:
            return content(file)

        return act


def _refused(status: int, code: str) -> Refused:
    return Refused(Reply(status, f"<Error><Code>{code}</Code></Error>".encode()))
