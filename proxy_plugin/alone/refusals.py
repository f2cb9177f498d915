"""Why a call was not answered, where no provider said so."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from proxy_plugin.direct.verdict import complaint
from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.lines.choosing.choice import CONFLICT
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.direct.base import Lost, NotSent
from proxy_plugin.providers.echoes import Echoes

NO_OBJECT = "We could not parse the JSON body of your request. It must be one JSON object."
NO_MODEL = "you must provide a model parameter"
_SERVER = 500
_OF_CALLS = {  # what is said of lines in words that no call has
    CONFLICT: "'model' names another virtual key than the headers or the config of the request do. Take one out.",
    "no_target": "The request meets no condition of its config, and the config has no default target.",
}


class ProviderUnreachable(GatewayError):
    """Nothing has reached the provider."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "provider_failed"


class AnswerLost(GatewayError):
    """The provider may have answered, and its answer did not come, or cannot be read."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "provider_outcome_unknown"


class ProviderLate(GatewayError):
    """The provider did not answer in time."""

    status: ClassVar[int] = 504
    default_code: ClassVar[str | None] = "provider_outcome_unknown"


class TargetLate(GatewayError):
    """As above, where the config says how long its target may take. Status and words are those of Portkey's gateway."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "timeout_error"
    default_code: ClassVar[str | None] = None


def of_failure(failure: NotSent | Lost, timeout: float | None) -> GatewayError:
    """Return what is told of a call without an answer; `timeout`: seconds that the config gives its target."""
    if isinstance(failure, NotSent):
        return ProviderUnreachable("The provider could not be reached; nothing was sent.")
    if str(failure) == "TimeoutError" and timeout is not None:
        return TargetLate(f"Request exceeded the timeout sent in the request: {timeout * 1000:g}ms")
    if str(failure) == "TimeoutError":
        return ProviderLate("The provider did not answer in time. The call may have been answered and paid for.")
    return AnswerLost("The connection to the provider broke. The call may have been answered and paid for.")


def of_rejection(refusal: LineRejected) -> BadRequest:
    """Return the refusal of a body that no target may have. Its words are of a line; this is a body by itself."""
    if refusal.code in _OF_CALLS:
        return BadRequest(_OF_CALLS[refusal.code], param="model", code=refusal.code)
    param = None if refusal.param in (None, "url") else str(refusal.param).removeprefix("body.")
    return BadRequest(refusal.message.replace("body.", "", 1), param=param, code=refusal.code)


def error_body(status: int, body: bytes, echoes: Echoes) -> bytes:
    """Return a provider's refusal in OpenAI's shape: as it came where it has that, without the account's secrets."""
    hidden = echoes.hide(body)
    try:
        if isinstance(msgspec.json.decode(hidden, type=_Shape).error, dict):
            return hidden
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    said = complaint(hidden)
    error = {
        "message": said.message or f"The provider answered with HTTP {status}.",
        "type": "server_error" if status >= _SERVER else "invalid_request_error",
        "param": said.param,
        "code": said.code or None,
    }
    return msgspec.json.encode({"error": error})


class _Shape(msgspec.Struct):
    error: object


def written(error: GatewayError) -> bytes:
    """Return the body of a refusal of ours."""
    return msgspec.json.encode(error.body())
