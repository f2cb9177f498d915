"""Google's token exchange, IAM credentials and a machine's metadata server, small and strict.

Sources: as in `proxy_plugin.providers.signing.google_defaults`. A workload's own token is one of the sandbox's keys;
one service account may be lent; a machine has the account of the first key. Tokens are those of `tokens.TokenDesk`.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from aiohttp import web

from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply
from proxy_plugin.providers.sandbox.tokens import ACCOUNT, CLOUD_PLATFORM, TokenDesk

AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/sandbox/providers/sandbox"
AWS4 = "urn:ietf:params:aws:token-type:aws4_request"
JWT, ACCESS = "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:access_token"
LENT = f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
MACHINE = "/computeMetadata/v1/instance/service-accounts/default/token"
_SCOPES = (CLOUD_PLATFORM, "https://www.googleapis.com/auth/iam")  # the second suffices to borrow an account
_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "audience": AUDIENCE,
    "requested_token_type": ACCESS,
}


class GoogleDesk:
    """The routes that need no token, and the one that lends an account."""

    def __init__(self, services: Services, tokens: TokenDesk) -> None:
        self._services, self._tokens = services, tokens

    def routes(self) -> list[Route]:
        """Each where Google has it, below the prefix."""
        return [
            Route("POST", "/v1/token", "tokens.exchange", self._exchange),
            Route("POST", LENT, "tokens.lend", self._lend),
            Route("GET", MACHINE, "tokens.machine", self._for_machine),
        ]

    def serves(self, request: web.Request, prefix: str) -> bool:
        """Whether a request is for one of these routes."""
        return request.path.removeprefix(prefix) in {route.path for route in self.routes()}

    async def _exchange(self, request: web.Request, _: str) -> Act:
        form = dict(parse_qsl((await request.read()).decode()))
        proof, kind = form.pop("subject_token", ""), form.pop("subject_token_type", "")
        if form.get("audience") != AUDIENCE:
            raise _refused("invalid_target", "The target service indicated by the audience parameters is invalid.")
        if (
            form.pop("scope", "") not in _SCOPES
            or form != _EXCHANGE
            or kind not in {JWT, AWS4}
            or request.content_type != "application/x-www-form-urlencoded"
        ):
            raise _refused("invalid_request", "Request contains an invalid argument.")
        account = self._of_aws(proof) if kind == AWS4 else self._services.accounts.of(proof)
        if account is None:
            raise _refused("invalid_grant", "Unable to verify the subject token.")
        return self._tokens.give(account, {"issued_token_type": ACCESS})

    def _of_aws(self, proof: str) -> str | None:
        """Whose keys of AWS have signed the call of STS that a proof is: it is for us, and not made here."""
        try:
            call = json.loads(unquote(proof))
            place, headers = urlsplit(call["url"]), {each["key"].lower(): each["value"] for each in call["headers"]}
            signed = sigv4.Request(call["method"], place.path or "/", place.query, headers)
            secret = sigv4.secret_of(signed, self._services.accounts.keys())
            if secret is not None:
                sigv4.check(signed, secret, "sts", place.netloc.split(".")[1], hashlib.sha256(b"").hexdigest())
        except (ValueError, KeyError, TypeError, IndexError, sigv4.BadSignature):
            return None
        ours = headers.get("x-goog-cloud-target-resource") == AUDIENCE and headers.get("host") == place.netloc
        return self._services.accounts.of(secret) if ours else None

    async def _lend(self, request: web.Request, _: str) -> Act:
        account = self._tokens.of_bearer(request)
        if account is None:
            raise _status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        asked = await request.json()
        if asked.get("scope") != [CLOUD_PLATFORM] or asked.keys() - {"scope", "lifetime", "delegates"}:
            raise _status(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
        seconds = float(str(asked.get("lifetime", "3600s")).removesuffix("s"))

        async def act() -> Reply:
            token, ends = self._tokens.issue(account, seconds)
            moment = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return json_reply({"accessToken": token, "expireTime": moment})

        return act

    async def _for_machine(self, request: web.Request, _: str) -> Act:
        if request.headers.get("metadata-flavor") != "Google":
            raise Refused(Reply(403, b"Missing Metadata-Flavor:Google header."))
        account = self._services.accounts.of(self._services.accounts.keys()[0]) or ""
        return self._tokens.give(account, {}, {"metadata-flavor": "Google"})


def _refused(code: str, words: str) -> Refused:
    return Refused(json_reply({"error": code, "error_description": words}, 400))


def _status(status: int, word: str, words: str) -> Refused:
    error: Mapping[str, Any] = {"code": status, "message": words, "status": word}
    return Refused(json_reply({"error": error}, status))
