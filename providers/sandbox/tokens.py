"""The token endpoints of Microsoft Entra, Azure's machines and Google, small, for the dialects that take bearer tokens.

Sources: as in `proxy_plugin.providers.signing`. A client secret, the content of a federated token file and the id of a
service account's private key are the sandbox's own keys; a machine has the account of the first key. The private key
below is known to everybody: it opens nothing but this sandbox.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

TENANT, CLIENT = "sandbox-tenant", "sandbox-client"
SCOPES = ("https://cognitiveservices.azure.com/.default", "https://ai.azure.com/.default")
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE = "https://oauth2.googleapis.com/token"
ACCOUNT = "batches@sandbox.iam.gserviceaccount.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_PRIVATE = (
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDN91GK4JIBfUTx844kg/lH4F4HhN6iVKyVKRmGhfhE5yLlmwsl"
    "LPGO/mVii2n7/zvquu6eQ5w38F8232oGFsw1meYHYNEB4C8bQ60fp/W9DSQlLWcdmigqjHvR1Z7832gfeOtZLzQkv0wTnWlMPGFb"
    "RdHTcjMl1PwKuz8hy5RyMwrhDJnhTUR3Re8tgNbIY25k5AEIP6Z/CV4/3GVUn2OeBGrJhEP5PM6r5W3wjKhyZK+sVD65dOho4SMi"
    "1DLJxOPD7twqEEeFAClhk2XNN6jWSjQHnb/pZjwyEKrSlzkZsvpV/mKNzSyRZcfZ4fh1ZBYJQSPVUyTmXYuvWTJhSgubAgMBAAEC"
    "ggEATDIjm4IK4bwrJmtY+Y9NSFbr0lJIXrt+gUwMImUrfKoZkeGy1NT0pFbewP8cfVpmGyd+oVQX1eX6A33RZmFGuMmvfKlHiS8b"
    "njWCNYTYd1EGPy61yBDArUT9hZpGz/wCNCpyvrKk0rdmeJcyXj60MaT5xASqgWNyvrGY4HLE/x3S2AryZKbSt3sQB4l6DaW724o3"
    "hTq05RoWFuoGG8+z6uVHF5kJ70nMfyw5bz40/tTS4zQOSxuxc6D0GuqjG47cWeOixAMQmPS6wo7iknf64zN9v2gxX5dxMRZtLSQ5"
    "Y5TkwWuTQNRMGtKMbyWbousaaolQBCDaBIcKlkwvgH4boQKBgQDxuia8582OvN7Cby76nT+n63c8NHCKe3diEYA1niGqNjWG2Y5N"
    "lvHea7ZtMkT7xrKQmcZvO4+meIj8fNpERgXRv+J7y66ywcmv6cC6tfcAwrCPRDThcsqljTvdU6+8w5FFjdqFzjrSKJK8XIiXaF2P"
    "FqZDk2t10E0QLgZ3aF6gKwKBgQDaIJ4Ztqisp6RpL8pqQg4Ex4R+eAdjDlyThYBW+PYTwxZtSd5F88Pkh9mDBjthpkKHDldwBviV"
    "wHdS1q/nNLE/8GNKSzVCUZBrAonlKTJjQy9eeVRFXKKHJf3SOFh4fAj5RiAIamMtQilUTo/zHelxx+sWAg6PZ9I3LNKnPb8aUQKB"
    "gQDskSucMJeBm+G+E6W8auyDX/P/HasOPCrn9QyubKWxuP/Fi2CzGoh3Dp8oWswcQ6c50OTcs0OwvcICqAXMT2MelVYHpZzBINpL"
    "qM6Pa8niGqdEbpH6GaetQX1W67HPYO3pThyQWvZB+qcwZLbgxqjZgmcRN1Mxp7vjm8eEUMZapQKBgAZzRHmaLy673l7F7QRrY6K8"
    "i6x5vC4vtIkgP4VS42P+NuGQd6Q16ysM4V/AhW0Dz5/Syr8jVaKICH9InfcGVd+AKk9+HdsSMmUXtCA0sarBx9rRV66daKj6dKEM"
    "zYDymglVC4l0K+6gsDwv/o2/6rFUqh0Cfo+7EDpVdv0/FDGhAoGBALQYV6RAMb0KKow6pzLq+HJwMApXfFwijH82xKauvidoDiCD"
    "ND622Of5MHMx7Ba9yWxRDxkmtV/kA50NS7cM2IDqY5mN7OdtEOOLo82PrjJ8elJwdKgj26Fcg5AHKFEnnU5xMY27b/Ne4pgW0lHO"
    "tJ9Y4DRsLKbmoWeye8ssA0Gi"
)
_MODULUS = (
    "cdf7518ae092017d44f1f38e2483f947e05e0784dea254ac9529198685f844e722e59b0b252cf18efe65628b69fbff3beaba"
    "ee9e439c37f05f36df6a0616cc3599e60760d101e02f1b43ad1fa7f5bd0d24252d671d9a282a8c7bd1d59efcdf681f78eb59"
    "2f3424bf4c139d694c3c615b45d1d3723325d4fc0abb3f21cb9472330ae10c99e14d447745ef2d80d6c8636e64e401083fa6"
    "7f095e3fdc65549f639e046ac98443f93cceabe56df08ca87264afac543eb974e868e12322d432c9c4e3c3eedc2a10478500"
    "29619365cd37a8d64a34079dbfe9663c3210aad2973919b2fa55fe628dcd2c9165c7d9e1f8756416094123d55324e65d8baf"
    "5932614a0b9b"
)
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, 9.2, note 1


def service_account(key: str) -> str:
    """The JSON of a service account whose account is that of a sandbox key."""
    pem = f"-----BEGIN PRIVATE KEY-----\n{_PRIVATE}\n-----END PRIVATE KEY-----\n"
    names = {"type": "service_account", "project_id": "sandbox", "client_email": ACCOUNT, "token_uri": AUDIENCE}
    return json.dumps({**names, "private_key_id": key, "private_key": pem})


class TokenDesk:
    """Gives out tokens and knows whose they are."""

    def __init__(self, services: Services, seconds: Callable[[], float]) -> None:
        self._services, self._seconds = services, seconds
        self._given: dict[str, tuple[str, float]] = {}

    def reset(self) -> None:
        self._given.clear()

    def account(self, token: str) -> str | None:
        """Whose token it is; None for one that nobody has, or that has ended."""
        account, ends = self._given.get(token, (None, 0.0))
        return account if self._services.clock.now() < ends else None

    def of_bearer(self, request: web.Request) -> str | None:
        """The account of a request's bearer token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.account(token) if scheme == "Bearer" else None

    def entra(self) -> list[Route]:
        """The routes of Microsoft's platform."""
        return [
            Route("POST", f"/{TENANT}/oauth2/v2.0/token", "tokens.create", self._for_client),
            Route("GET", "/metadata/identity/oauth2/token", "tokens.identity", self._for_machine),
        ]

    def google(self) -> list[Route]:
        """The route of Google's platform."""
        return [Route("POST", "/token", "tokens.create", self._for_assertion)]

    def serves(self, request: web.Request, prefix: str) -> bool:
        """Whether a request is for one of these routes, which need no token."""
        paths = {prefix + route.path for route in (*self.entra(), *self.google())}
        return request.path in paths

    async def _for_client(self, request: web.Request, _: str) -> Act:
        form = await _form(request)
        _needed(form, grant_type="client_credentials", client_id=CLIENT)
        if form.get("scope") not in SCOPES:
            raise _refused(
                "invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' is not valid."
            )
        if "client_assertion" in form:
            _needed(form, client_assertion_type=_ASSERTION)
        proof = form.get("client_assertion") or form.get("client_secret")
        account = self._services.accounts.of(proof)
        if account is None:
            raise _refused("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
        return self.give(account, {"ext_expires_in": int(self._seconds())})

    async def _for_machine(self, request: web.Request, _: str) -> Act:
        if request.headers.get("metadata") != "true":
            raise _refused("invalid_request", "Required metadata header not specified")
        resource = request.query.get("resource", "")
        if request.query.get("api-version") != "2018-02-01" or f"{resource}/.default" not in SCOPES:
            raise _refused("invalid_request", "api-version or resource is not supported")
        account = self._services.accounts.of(self._services.accounts.keys()[0])
        return self.give(account or "", {"expires_in": str(int(self._seconds())), "resource": resource})

    async def _for_assertion(self, request: web.Request, _: str) -> Act:
        form = await _form(request)
        if form.get("grant_type") == "refresh_token":
            return self._for_person(form)
        _needed(form, grant_type=_GRANT)
        head, claims = verified(form.get("assertion", ""))
        now = self._services.clock.now()
        fits = claims.get("iss") == ACCOUNT and claims.get("aud") == AUDIENCE and claims.get("scope") == CLOUD_PLATFORM
        begins, ends = claims.get("iat", 0), claims.get("exp", 0)
        if not fits or not begins <= now + 60 or not ends <= begins + 3600:
            raise _refused("invalid_grant", "Invalid JWT: iss, scope, aud, iat and exp must be those of the account.")
        account = self._services.accounts.of(head.get("kid"))
        if account is None:
            raise _refused("invalid_grant", "Invalid grant: account not found")
        return self.give(account, {})

    def _for_person(self, form: Mapping[str, str]) -> Act:
        """Somebody who has logged in: the refresh token is a key of the sandbox."""
        _needed(form, client_id=CLIENT, client_secret=CLIENT)
        account = self._services.accounts.of(form.get("refresh_token"))
        if account is None:
            raise _refused("invalid_grant", "Token has been expired or revoked.")
        return self.give(account, {"scope": CLOUD_PLATFORM})

    def give(self, account: str, more: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Act:
        """The act that gives out a token of an account."""

        async def act() -> Reply:
            seconds = self._seconds()
            token, _ = self.issue(account, seconds)
            body = {"token_type": "Bearer", "access_token": token, "expires_in": int(seconds), **more}
            return json_reply(body, headers=headers)

        return act

    def issue(self, account: str, seconds: float) -> tuple[str, float]:
        """A new token of an account, and when it ends."""
        token, ends = secrets.token_urlsafe(48), self._services.clock.now() + seconds
        self._given[token] = (account, ends)
        return token, ends


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise _refused("invalid_request", "AADSTS900144: The request body must be a form.")
    return dict(parse_qsl((await request.read()).decode()))


def _needed(form: Mapping[str, str], **values: str) -> None:
    for name, value in values.items():
        if form.get(name) != value:
            raise _refused("invalid_request", f"The value of '{name}' is not the one that is needed.")


def _refused(code: str, words: str, status: int = 400) -> Refused:
    return Refused(json_reply({"error": code, "error_description": words}, status))


def verified(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT whose RS256 signature is the sandbox's own. Raises `Refused`."""
    try:
        signed, _, signature = assertion.rpartition(".")
        head, claims = (json.loads(_decoded(text)) for text in signed.split("."))
        size = len(_MODULUS) // 2
        shown = pow(int.from_bytes(_decoded(signature), "big"), 65537, int(_MODULUS, 16)).to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise _refused("invalid_grant", "Bad Request") from None
    digest = _SHA256_INFO + hashlib.sha256(signed.encode()).digest()
    if head.get("alg") != "RS256" or shown != b"\0\1" + b"\xff" * (size - 3 - len(digest)) + b"\0" + digest:
        raise _refused("invalid_grant", "Invalid JWT Signature.")
    return head, claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
