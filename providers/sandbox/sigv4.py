"""AWS Signature Version 4 as a service checks it, written from AWS's description and not from any signer.

Source: "Create a signed AWS API request", AWS IAM User Guide: canonical request, string to sign, signing key. Access
keys are made from the sandbox's own keys: the secret is the key, its id a hash of it. An id that begins with ASIA is
that of a session, whose token must be there too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_TIME = "%Y%m%dT%H%M%SZ"
TOLERANCE = timedelta(minutes=15)
NOTHING = hashlib.sha256(b"").hexdigest()


class BadSignature(Exception):
    """Why a request is refused."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived: path and query are as they were sent, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def access_key(key: str, *, session: bool = False) -> dict[str, str]:
    """The settings of an AWS account whose secret is one of the sandbox's keys."""
    name = ("ASIA" if session else "AKIA") + hashlib.sha256(key.encode()).hexdigest()[:16].upper()
    token = {"aws_session_token": f"token-of-{name}"} if session else {}
    return {"aws_access_key_id": name, "aws_secret_access_key": key, **token}


def secret_of(request: Request, keys: Iterable[str]) -> str | None:
    """The key whose id a request names; None for none, and for a session without its token."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    for key in keys if found else ():
        for session in (False, True):
            account = access_key(key, session=session)
            token = request.headers.get("x-amz-security-token")
            if found and found[1] == account["aws_access_key_id"] and token == account.get("aws_session_token"):
                return key
    return None


def check(request: Request, secret: str, service: str, region: str, sha256: str) -> None:
    """Check a signature against the hash of the body that came. Raises `BadSignature`."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise BadSignature("the Authorization header is no signature of version 4")
    _, day, its_region, its_service, names, signature = found.groups()
    moment = request.headers.get("x-amz-date", "")
    if (its_region, its_service) != (region, service) or not moment.startswith(day):
        raise BadSignature(f"Credential should be scoped to {day}/{region}/{service}")
    _check_time(moment)
    signed = names.split(";")
    needed = {"host"} | {name for name in request.headers if name.startswith("x-amz-")}
    if signed != sorted(signed) or needed - set(signed):
        raise BadSignature("there must be signed: host and every x-amz- header")
    if request.headers.get("x-amz-content-sha256", sha256) != sha256:
        raise BadSignature("x-amz-content-sha256 is not the hash of the body")
    if not hmac.compare_digest(signature_of(request, secret, f"{day}/{region}/{service}", signed, sha256), signature):
        raise BadSignature("The request signature we calculated does not match the signature you provided.")


def signature_of(request: Request, secret: str, place: str, signed: list[str], sha256: str) -> str:
    """The signature of a request; `place` is day, region and service, `signed` the names of headers, sorted."""
    scope, moment = f"{place}/aws4_request", request.headers["x-amz-date"]
    text = "\n".join(
        ("AWS4-HMAC-SHA256", moment, scope, _hash(_canonical(request, signed, sha256, store=place.endswith("/s3"))))
    )
    return _sign(secret, scope, text)


def sha256_of(body: bytes) -> str:
    """The hash of a body, in hex."""
    return hashlib.sha256(body).hexdigest()


def _check_time(moment: str) -> None:
    try:
        at = datetime.strptime(moment, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise BadSignature("x-amz-date is no time") from None
    if abs(datetime.now(UTC) - at) > TOLERANCE:
        raise BadSignature("Signature expired")


def _canonical(request: Request, signed: list[str], sha256: str, *, store: bool) -> str:
    path = quote(unquote(request.path) if store else request.path, safe="/-_.~")  # once more, but at S3
    pairs = (pair.partition("=") for pair in request.query.split("&") if pair)
    query = "&".join(sorted(f"{_again(name)}={_again(value)}" for name, _, value in pairs))
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    return "\n".join((request.method, path, query, headers, ";".join(signed), sha256))


def _again(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _sign(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
