"""STS, the agent of a container and the metadata service of a machine of AWS, small and strict.

Sources: as in `proxy_plugin.providers.signing.aws_keys`. Base keys are `sigv4.access_key` of the sandbox's own keys,
with which one role may be taken; a web identity's token and a container's authorization are such a key, too. A machine
has the account of the first key.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from aiohttp import web

from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

ROLE, EXTERNAL_ID, REGION = "arn:aws:iam::111122223333:role/Gateway", "sandbox-external", "us-east-1"
POD_ROLE = "arn:aws:iam::111122223333:role/Pod"  # that a token alone gives, and that may take the first
INSTANCE = "sandbox-instance-role"
_FORM = "application/x-www-form-urlencoded"
ZONE = "/latest/meta-data/placement/availability-zone"
_ROLES, _LEASE = "/latest/meta-data/iam/security-credentials", "/latest/api/token"
_BASE = {"Version", "Action", "DurationSeconds", "RoleArn", "RoleSessionName"}
_TAKES = {
    "AssumeRole": (_BASE, _BASE | {"ExternalId"}),
    "AssumeRoleWithWebIdentity": (_BASE | {"WebIdentityToken"}, _BASE | {"WebIdentityToken"}),
}


@dataclass(frozen=True, slots=True)
class Issued:
    """Keys that were given out: whose they are, and until when."""

    account: str
    secret: str
    token: str
    ends: float


class AwsDesk:
    """Gives out keys and knows whose they are."""

    def __init__(self, services: Services, seconds: Callable[[], float]) -> None:
        self._services, self._seconds = services, seconds
        self._issued: dict[str, Issued] = {}
        self._leases: set[str] = set()

    def reset(self) -> None:
        self._issued.clear()
        self._leases.clear()

    def routes(self) -> list[Route]:
        """STS at `/sts/`; the others where they are on a machine."""
        return [
            Route("POST", "/sts/", "keys.assume", self._for_role),
            Route("GET", "/v2/credentials/{task}", "keys.container", self._for_container),
            Route("PUT", _LEASE, "keys.lease", self._lease),
            Route("GET", f"{_ROLES}/", "keys.role", self._role),
            Route("GET", f"{_ROLES}/{{role}}", "keys.instance", self._for_machine),
            Route("GET", ZONE, "keys.zone", self._zone),
        ]

    def serves(self, request: web.Request, prefix: str) -> bool:
        """Whether a request is for one of these routes, which check what proves an account themselves."""
        path = request.path.removeprefix(prefix)
        return path in {"/sts/", _LEASE, ZONE} or path.startswith((f"{_ROLES}/", "/v2/credentials/"))

    def secret_of(self, signed: sigv4.Request) -> tuple[str, str] | None:
        """Account and secret of the keys that a request names. Raises `BadSignature` for ones that have ended."""
        keys = self._services.accounts.keys()
        if (own := sigv4.secret_of(signed, keys)) is not None:
            return self._services.accounts.of(own) or "", own
        named = signed.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        issued = self._issued.get(named)
        if issued is None or issued.token != signed.headers.get("x-amz-security-token"):
            return None
        if self._services.clock.now() >= issued.ends:
            raise Expired("The security token included in the request is expired")
        return issued.account, issued.secret

    def has_ended(self, request: web.Request) -> bool:
        """Whether the keys that a request names were given out and have ended."""
        try:
            self.secret_of(as_signed(request))
        except Expired:
            return True
        return False

    async def _for_role(self, request: web.Request, _: str) -> Act:
        body = await request.read()
        if request.content_type != _FORM:
            raise _no(400, "MissingAction", "STS takes a form.")
        fields = dict(parse_qsl(body.decode(), strict_parsing=True))
        action = fields.get("Action", "")
        least, most = _TAKES.get(action, (set[str](), set[str]()))
        if fields.get("Version") != "2011-06-15" or not least <= fields.keys() <= most:
            raise _no(400, "InvalidAction", f"Could not find operation {action} with these fields.")
        if not 900 <= int(fields["DurationSeconds"]) <= 3600:
            raise _no(400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration set for this role.")
        by_token = action == "AssumeRoleWithWebIdentity"
        account = self._by_token(fields) if by_token else self._by_signature(request, body, fields)
        return self._act(lambda: _answer(action, fields, *self._give(account)))

    def _by_token(self, fields: Mapping[str, str]) -> str:
        account = self._services.accounts.of(fields["WebIdentityToken"])
        if account is None:
            raise _no(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account")
        if fields["RoleArn"] not in {ROLE, POD_ROLE}:
            raise _no(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        return account

    def _by_signature(self, request: web.Request, body: bytes, fields: Mapping[str, str]) -> str:
        signed = as_signed(request)
        try:
            found = self.secret_of(signed)
            if found is None:
                raise _no(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
            sigv4.check(signed, found[1], "sts", REGION, hashlib.sha256(body).hexdigest())
        except Expired as over:
            raise _no(403, "ExpiredToken", str(over)) from None
        except sigv4.BadSignature as wrong:
            raise _no(403, "SignatureDoesNotMatch", str(wrong)) from None
        if fields["RoleArn"] != ROLE or fields.get("ExternalId") != EXTERNAL_ID:
            raise _no(403, "AccessDenied", f"User is not authorized to perform: sts:AssumeRole on {fields['RoleArn']}")
        return found[0]

    async def _for_container(self, request: web.Request, _: str) -> Act:
        account = self._services.accounts.of(request.headers.get("authorization"))
        if account is None:
            raise Refused(json_reply({"code": "InvalidIdInRequest", "message": "The authorization is not valid."}, 403))
        return self._act(lambda: json_reply({"RoleArn": ROLE, **_told(*self._give(account))}))

    async def _lease(self, request: web.Request, _: str) -> Act:
        if not 1 <= int(request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", 0)) <= 21600:
            raise Refused(Reply(400, b"Bad Request"))
        lease = secrets.token_urlsafe(40)

        def give() -> Reply:
            self._leases.add(lease)
            return Reply(200, lease.encode(), {"content-type": "text/plain"})

        return self._act(give)

    async def _role(self, request: web.Request, _: str) -> Act:
        self._check_lease(request)
        return self._act(lambda: Reply(200, INSTANCE.encode(), {"content-type": "text/plain"}))

    async def _zone(self, request: web.Request, _: str) -> Act:
        self._check_lease(request)
        return self._act(lambda: Reply(200, f"{REGION}a".encode(), {"content-type": "text/plain"}))

    async def _for_machine(self, request: web.Request, _: str) -> Act:
        self._check_lease(request)
        if request.match_info["role"] != INSTANCE:
            raise Refused(Reply(404, b"Not Found"))
        account = self._services.accounts.of(self._services.accounts.keys()[0]) or ""
        more = {"Code": "Success", "Type": "AWS-HMAC"}
        return self._act(lambda: json_reply({**more, **_told(*self._give(account))}))

    def _check_lease(self, request: web.Request) -> None:
        if request.headers.get("x-aws-ec2-metadata-token") not in self._leases:
            raise Refused(Reply(401, b"Unauthorized"))

    def _give(self, account: str) -> tuple[str, Issued]:
        name = "ASIA" + secrets.token_hex(8).upper()
        ends = self._services.clock.now() + self._seconds()
        self._issued[name] = Issued(account, secrets.token_urlsafe(30), secrets.token_urlsafe(120), ends)
        return name, self._issued[name]

    def _act(self, give: Callable[[], Reply]) -> Act:
        async def act() -> Reply:
            return give()

        return act


class Expired(sigv4.BadSignature):
    """Keys that were given out and have ended."""


def as_signed(request: web.Request) -> sigv4.Request:
    """A request as its signature is checked."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return sigv4.Request(request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, headers)


def _told(name: str, keys: Issued) -> dict[str, str]:
    ends = _moment(keys.ends)
    return {"AccessKeyId": name, "SecretAccessKey": keys.secret, "Token": keys.token, "Expiration": ends}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _answer(action: str, fields: Mapping[str, str], name: str, keys: Issued) -> Reply:
    told = {**_told(name, keys), "SessionToken": keys.token}
    del told["Token"]
    held = "".join(f"<{key}>{value}</{key}>" for key, value in told.items())
    user = (
        f"<Arn>{ROLE}/{fields['RoleSessionName']}</Arn><AssumedRoleId>AROA:{fields['RoleSessionName']}</AssumedRoleId>"
    )
    inner = f"<Credentials>{held}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"
    body = (
        f"<{action}Result>{inner}</{action}Result><ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata>"
    )
    return _xml(200, f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{body}</{action}Response>')


def _no(status: int, code: str, words: str) -> Refused:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error>"
    return Refused(_xml(status, f"<ErrorResponse>{error}<RequestId>sandbox</RequestId></ErrorResponse>"))


def _xml(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), {"content-type": "text/xml"})
