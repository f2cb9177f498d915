"""Claude Platform on AWS: Anthropic's dialect behind a key or a signature, with the workspace in a header.

Source: project's reference page of Anthropic, update 3 of 2026-11-29. Not in any document, so a guess: the statuses and
words of what AWS refuses.
"""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.anthropic.batches import Batches
from proxy_plugin.providers.sandbox.anthropic.dialect import Anthropic
from proxy_plugin.providers.sandbox.anthropic.errors import check_version, refused
from proxy_plugin.providers.sandbox.anthropic.options import Options, Settings
from proxy_plugin.providers.sandbox.claude_platform_aws.stand_in import WORKSPACE
from proxy_plugin.providers.sandbox.dialect import Route, Services
from proxy_plugin.providers.sandbox.identity.aws import AwsDesk, Expired, as_signed
from proxy_plugin.providers.sandbox.replies import Refused

SERVICE, REGION = "aws-external-anthropic", "us-east-1"


class AwsOptions(Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Those of Anthropic, and of what gives out keys."""

    key_seconds: float = 3600.0


class ClaudeOnAWS(Anthropic):
    """See `dialect.Dialect`."""

    credentials = frozenset({"x-api-key", "authorization", "x-amz-security-token"})
    defaults = AwsOptions()

    def account(self, request: web.Request) -> str | None:
        if not _signs(request):
            return super().account(request)
        try:
            found = self._desk.secret_of(as_signed(request))
        except Expired:
            return None
        return None if found is None else found[0]

    def admit(self, request: web.Request) -> str:
        """A create is checked again when its body has come, with the hash of what came."""
        if self._desk.serves(request, self.prefix):
            return ""
        account = self.account(request)
        if account is None and self._desk.has_ended(request):
            raise _expired()
        if account is None:
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
        signed = as_signed(request)
        try:
            found = self._desk.secret_of(signed)
            sigv4.check(signed, found[1] if found else "", SERVICE, REGION, sha256)
        except sigv4.BadSignature as wrong:
            raise refused(403, str(wrong)) from None

    def reset(self) -> None:
        super().reset()
        self._desk.reset()

    def _routes(self) -> list[Route]:
        return [*self._desk.routes(), *super()._routes()]

    def _key_seconds(self) -> float:
        options = self._settings.current
        return options.key_seconds if isinstance(options, AwsOptions) else 0.0

    def _made(self) -> Batches:
        self._desk = AwsDesk(self._services, self._key_seconds)
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


def _expired() -> Refused:
    reply = refused(403, "The security token included in the request is expired").reply
    return Refused(replace(reply, headers={**reply.headers, "x-amzn-errortype": "ExpiredTokenException"}))


def _sha256(path: Path) -> str:
    with path.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest()
