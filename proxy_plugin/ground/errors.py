"""The errors this gateway answers on purpose, in OpenAI's shape.

    GatewayError                 500 internal_error
     |- BadRequest               400 invalid_request_error
     |   `- ConfigError          400 invalid_config (as an answer), or stops the start
     |- Unauthenticated          401 invalid_api_key
     |- Forbidden                403 permission_denied
     |- NotFound                 404 not_found
     |- Conflict                 409 conflict
     |- TooLarge                 413 request_too_large
     |- IdempotencyMismatch      422 idempotency_key_reused
     |- TooManyRequests          429 rate_limit_exceeded
     |- Unavailable              503 unavailable
     `- NoSpace                  507 insufficient_storage

Messages never hold a secret or the user's content.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar


class GatewayError(Exception):
    """Base of all errors raised on purpose. `retry` None leaves a retry to the client's own rule."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = "internal_error"
    retry: ClassVar[bool | None] = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code or self.default_code

    def body(self) -> dict[str, Any]:
        """Return the JSON answer: OpenAI's error envelope."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Return extra response headers; OpenAI's SDKs obey `x-should-retry`."""
        return {} if self.retry is None else {"x-should-retry": str(self.retry).lower()}


class BadRequest(GatewayError):
    """The caller must change the request."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = None


class ConfigError(BadRequest):
    """A configuration, from the operator's file or the caller's header, cannot be used. Names the path."""

    default_code: ClassVar[str | None] = "invalid_config"


class Unauthenticated(GatewayError):
    """The caller is unknown. The body also carries Portkey's form, which its SDK users look at."""

    status: ClassVar[int] = 401
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "invalid_api_key"

    def body(self) -> dict[str, Any]:
        """Return OpenAI's envelope with Portkey's `status` and `message` beside it."""
        return {"status": "failure", "message": self.message} | super().body()


class Forbidden(GatewayError):
    """The caller is known but may not do this."""

    status: ClassVar[int] = 403
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "permission_denied"


class NotFound(GatewayError):
    """There is no such thing in the caller's workspace."""

    status: ClassVar[int] = 404
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = None


class Conflict(GatewayError):
    """The thing is in a state that does not allow this."""

    status: ClassVar[int] = 409
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "conflict"
    retry: ClassVar[bool | None] = False


class TooLarge(GatewayError):
    """The upload or body exceeds a limit; the message names it."""

    status: ClassVar[int] = 413
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "request_too_large"


class IdempotencyMismatch(GatewayError):
    """The Idempotency-Key was used with another body."""

    status: ClassVar[int] = 422
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "idempotency_key_reused"
    retry: ClassVar[bool | None] = False


class TooManyRequests(GatewayError):
    """A limit on the caller's rate or number of live things. `after`: seconds until a new try, where known."""

    status: ClassVar[int] = 429
    type: ClassVar[str] = "rate_limit_error"
    default_code: ClassVar[str | None] = "rate_limit_exceeded"

    def __init__(self, message: str, *, code: str | None = None, after: float | None = None) -> None:
        super().__init__(message, code=code)
        self._after = after

    def headers(self) -> dict[str, str]:
        """Return the pause too, in whole seconds."""
        return super().headers() | _pause(self._after)


class Unavailable(GatewayError):
    """The gateway is stopping or not ready; nothing was done. `after`: seconds until a new try, where known."""

    status: ClassVar[int] = 503
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = "unavailable"

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, after: float | None = None
    ) -> None:
        super().__init__(message, param=param, code=code)
        self._after = after

    def headers(self) -> dict[str, str]:
        """Return the pause too, in whole seconds."""
        return super().headers() | _pause(self._after)


class NoSpace(GatewayError):
    """The disk or the workspace's quota is full; nothing was kept."""

    status: ClassVar[int] = 507
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = "insufficient_storage"
    retry: ClassVar[bool | None] = False


def _pause(after: float | None) -> dict[str, str]:
    return {} if after is None else {"Retry-After": str(math.ceil(after))}
