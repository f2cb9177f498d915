"""Claude Platform on AWS: Anthropic's dialect behind a key or a signature, with the workspace in a header.

Source: project's reference page of Anthropic, update 3 of 2026-11-29. Not in any document, so a guess: the statuses and
words of what AWS refuses.
"""

import asyncio
import hashlib
from pathlib import Path

from aiohttp import web

from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.anthropic.batches import Batches
from proxy_plugin.providers.sandbox.anthropic.dialect import Anthropic
from proxy_plugin.providers.sandbox.anthropic.errors import check_version, refused
from proxy_plugin.providers.sandbox.anthropic.options import Settings
from proxy_plugin.providers.sandbox.claude_platform_aws.stand_in import WORKSPACE
from proxy_plugin.providers.sandbox.dialect import Services

SERVICE, REGION = "aws-external-anthropic", "us-east-1"


class ClaudeOnAWS(Anthropic):
    """See `dialect.Dialect`."""

    credentials = frozenset({"x-api-key", "authorization", "x-amz-security-token"})

    def account(self, request: web.Request) -> str | None:
        if not _signs(request):
            return super().account(request)
        return self._services.accounts.of(sigv4.secret_of(_as_signed(request), self._services.accounts.keys()))

    def admit(self, request: web.Request) -> str:
        """A create is checked again when its body has come, with the hash of what came."""
        if (account := self.account(request)) is None:
            raise refused(403, "The security token included in the request is invalid.")
        claimed = request.headers.get("x-amz-content-sha256", sigv4.NOTHING)
        if not request.can_read_body or "x-amz-content-sha256" in request.headers:
            self.check(request, claimed)
        if request.headers.get("anthropic-workspace-id") != WORKSPACE:
            raise refused(400, "anthropic-workspace-id: a workspace of this account is required")
        check_version(request)
        return account

    def check(self, request: web.Request, sha256: str) -> None:
        """Raises `Refused` for a signature that is not that of the request and a body with this hash."""
        if not _signs(request):
            return
        signed = _as_signed(request)
        secret = sigv4.secret_of(signed, self._services.accounts.keys()) or ""
        try:
            sigv4.check(signed, secret, SERVICE, REGION, sha256)
        except sigv4.BadSignature as wrong:
            raise refused(403, str(wrong)) from None

    def _made(self) -> Batches:
        return _SignedBatches(self, self._services, self._settings)


class _SignedBatches(Batches):
    def __init__(self, dialect: ClaudeOnAWS, services: Services, settings: Settings) -> None:
        super().__init__(services, settings, dialect.prefix)
        self._dialect = dialect

    async def _receive(self, request: web.Request, path: Path) -> None:
        await super()._receive(request, path)
        self._dialect.check(request, await asyncio.to_thread(_sha256, path))


def _signs(request: web.Request) -> bool:
    """Whether a signature is to prove the account, and not a key, which the SDK sends as a bearer token."""
    return request.headers.get("authorization", "").startswith("AWS4-")


def _as_signed(request: web.Request) -> sigv4.Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return sigv4.Request(request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, headers)


def _sha256(path: Path) -> str:
    with path.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest()
