"""Who calls AWS: signatures of three services, Bedrock's API keys, and refusals in each service's form."""

import json
from collections.abc import Collection
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.bedrock import stores
from proxy_plugin.providers.sandbox.kit.lines import JSON
from proxy_plugin.providers.sandbox.kit.wire import Wire
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

REGION = "us-east-1"
SERVICES = {"s3": "s3", "quotas": "servicequotas"}  # by the path; all others are Bedrock's
TYPES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
}


class SignedWire(Wire):
    """See `kit.wire.Wire`."""

    credentials = frozenset({"authorization", "x-amz-security-token"})

    def error(self, status: int, message: str) -> JSON:  # noqa: ARG002
        return {"message": message}

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        kind = code or TYPES.get(status, "InternalServerException" if status >= 500 else "ValidationException")
        return json_reply(
            self.error(status, message), status, {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"}
        )

    def refused(self, status: int, message: str, code: str | None = None) -> Refused:
        return Refused(self.refusal(status, message, code))

    def account(self, request: web.Request) -> str | None:
        if not _signs(request):
            return None if _is_store(request) else super().account(request)
        return self.services.accounts.of(sigv4.secret_of(_as_signed(request), self.services.accounts.keys()))

    def admit(self, request: web.Request) -> str:
        """A body is checked again when it has come, with the hash of what came."""
        account = self.account(request)
        if account is None:
            raise self._denied(request, "InvalidAccessKeyId", "UnrecognizedClientException", "No such key.")
        if self.current.expired_tokens:
            raise self._denied(request, "ExpiredToken", "ExpiredTokenException", "The security token has expired")
        claimed = request.headers.get("x-amz-content-sha256")
        if _signs(request) and (claimed or not request.can_read_body):
            self.check(request, claimed or sigv4.NOTHING)
        return account

    def check(self, request: web.Request, sha256: str) -> None:
        """Raises `Refused` for a signature that is not that of the request and a body with this hash."""
        signed = _as_signed(request)
        secret = sigv4.secret_of(signed, self.services.accounts.keys()) or ""
        try:
            sigv4.check(signed, secret, SERVICES.get(request.path.split("/")[2], "bedrock"), REGION, sha256)
        except sigv4.BadSignature as wrong:
            words, region = str(wrong), "scoped" in str(wrong)
            code = "AuthorizationHeaderMalformed" if region else "SignatureDoesNotMatch"
            code = "RequestTimeTooSkewed" if "expired" in words else code
            raise self._denied(request, code, "InvalidSignatureException", words) from None

    def _denied(self, request: web.Request, store: str, service: str, words: str) -> Refused:
        if not _is_store(request):
            return self.refused(403, words, service)
        status = 400 if store in {"ExpiredToken", "AuthorizationHeaderMalformed"} else 403
        return Refused(Reply(status, stores.error(store, words), {"content-type": "application/xml"}))

    async def _body(self, request: web.Request, known: Collection[str] | None) -> dict[str, Any]:
        """A body whose signature is that of what came; None: whatever its members are."""
        raw = await request.read()
        if _signs(request):
            self.check(request, sigv4.sha256_of(raw))
        try:
            value = json.loads(raw or b"null")
        except ValueError:
            value = None
        if not isinstance(value, dict) or (known is not None and set(value) - set(known)):
            raise self.refused(400, "The request body is not valid", "SerializationException")
        return value


def _is_store(request: web.Request) -> bool:
    return request.path.split("/")[2:3] == ["s3"]


def _signs(request: web.Request) -> bool:
    return request.headers.get("authorization", "").startswith("AWS4-")


def _as_signed(request: web.Request) -> sigv4.Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return sigv4.Request(request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, headers)
