"""How accounts prove themselves: tokens that are kept, renewed and masked, and what a failing token endpoint means."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import NoToken, OutcomeUnknown, Refused, TryLater
from proxy_plugin.providers.http import Http, Origin
from proxy_plugin.providers.sandbox import sigv4
from proxy_plugin.providers.sandbox.tokens import service_account
from proxy_plugin.providers.signing import entra, google
from proxy_plugin.providers.signing.remedies import remedy
from proxy_plugin.providers.signing.tokens import EARLY, PAUSE, Bearer, Token, Tokens

SECRET = "a-client-secret-7Qx9"
CLIENT = entra.Client("tenant", "client")
Serve = Callable[[web.Application], Awaitable[TestServer]]


@dataclass
class Clock:
    """Monotonic seconds that stand still until they are moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Source:
    """Gives numbered tokens, or fails."""

    seconds: float = 3600.0
    fails: str = ""
    asked: int = 0
    gate: asyncio.Event | None = None

    async def fetch(self, http: Http) -> Token:  # noqa: ARG002
        self.asked += 1
        if self.gate:
            await self.gate.wait()
        if self.fails:
            raise TryLater(self.fails)
        return Token(f"token-{self.asked}", self.seconds)


async def test_many_calls_ask_for_one_token() -> None:
    source, http = Source(gate=asyncio.Event()), Http()
    waiting = [asyncio.ensure_future(http.tokens.of(http, source)) for _ in range(20)]
    await asyncio.sleep(0)
    assert source.gate
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert source.asked == 1


async def test_a_token_is_renewed_before_it_ends_and_serves_to_its_end_where_it_cannot_be() -> None:
    clock, source, http = Clock(), Source(), Http()
    tokens = Tokens(clock)
    clock.now = 3600 - EARLY - 1
    assert await tokens.of(http, source) == "token-1"
    clock.now += 3600 - EARLY - 1
    assert await tokens.of(http, source) == "token-1"
    clock.now, source.fails = clock.now + 1, "the endpoint is away"
    assert await tokens.of(http, source) == "token-1"
    assert source.asked == 2
    clock.now += EARLY
    with pytest.raises(TryLater, match="the endpoint is away"):
        await tokens.of(http, source)
    clock.now, source.fails = clock.now + PAUSE, ""
    assert await tokens.of(http, source) == f"token-{source.asked}"


async def test_a_failure_stands_for_those_who_wait() -> None:
    clock, source, http = Clock(), Source(fails="no such client"), Http()
    tokens = Tokens(clock)
    for _ in range(5):
        with pytest.raises(TryLater, match="no such client"):
            await tokens.of(http, source)
    assert source.asked == 1


async def test_a_refused_token_is_replaced_by_whoever_comes_first() -> None:
    source, http = Source(), Http()
    first = await http.tokens.of(http, source)
    found = await asyncio.gather(*(http.tokens.renew(http, source, first) for _ in range(5)))
    assert found == [True] * 5
    assert source.asked == 2


@given(st.lists(st.tuples(st.floats(0, 5000), st.booleans(), st.booleans()), max_size=20))
def test_a_token_that_is_given_still_lives(steps: list[tuple[float, bool, bool]]) -> None:
    async def run() -> None:
        clock, source, http = Clock(), Source(), Http()
        tokens, ends = Tokens(clock), dict[str, float]()
        for seconds, fails, refused in steps:
            clock.now += seconds
            source.fails, before = "away" if fails else "", source.asked
            try:
                text = await tokens.of(http, source)
            except TryLater:
                assert all(clock.now >= end for end in ends.values())
                continue
            finally:
                if source.asked > before and not fails:
                    ends[f"token-{source.asked}"] = clock.now + source.seconds
            assert clock.now < ends[text]
            if refused and not fails and await tokens.renew(http, source, text):
                ends = {f"token-{source.asked}": clock.now + source.seconds}

    asyncio.run(run())


# Calls


@dataclass
class Service:
    """A provider that takes the tokens it knows; every second part of it is a token endpoint."""

    known: set[str] = field(default_factory=set)
    given: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[], web.Response] | None = None

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_post("/tenant/oauth2/v2.0/token", self.token)
        made.router.add_get("/metadata/identity/oauth2/token", self.token)
        made.router.add_post("/token", self.token)
        made.router.add_route("*", "/v1/{tail:.*}", self.call)
        return made

    async def token(self, request: web.Request) -> web.Response:
        facts = {**request.query, **await request.post(), "metadata": request.headers.get("metadata")}
        self.asked.append(facts)
        if self.answer:
            return self.answer()
        self.given += 1
        token = f"tok-{self.given}-Kq3vTz81"
        self.known = {token}
        return web.json_response({"access_token": token, "expires_in": "3600", "token_type": "Bearer"})

    async def call(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.known:
            return web.json_response({"error": {"message": f"bad token {token}", "code": "unauthorized"}}, status=401)
        return web.json_response({"id": "job-1"})


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service, aiohttp_server: Serve) -> TestServer:
    return await aiohttp_server(service.app())


def origin(http: Http, server: TestServer, source: Any) -> Origin:
    return http.origin("prod", str(server.make_url("/v1")), {}, signer=Bearer(http, source))


def secret_source(server: TestServer) -> entra.ClientSecret:
    return entra.ClientSecret(entra.Client("tenant", "client", authority=str(server.make_url("/")).rstrip("/")), SECRET)


async def test_a_create_is_made_again_whole_after_a_token_was_refused(
    service: Service, server: TestServer, tmp_path: Path
) -> None:
    document = tmp_path / "document"
    document.write_bytes(b'{"requests":[' + b"1," * 200_000 + b"1]}")
    http = Http()
    try:
        bound = origin(http, server, secret_source(server))
        assert (await bound.create("jobs", document=document)).fields() == {"id": "job-1"}
        service.known = set()
        assert (await bound.create("jobs", document=document)).fields() == {"id": "job-1"}
    finally:
        await http.close()
    assert service.given == 2
    assert service.bodies == [document.read_bytes()] * 3


async def test_a_new_token_that_is_refused_too_is_the_providers_no(service: Service, server: TestServer) -> None:
    def give() -> web.Response:
        return web.json_response({"access_token": f"tok-nobody-{len(service.asked)}-Zb41", "expires_in": 3600})

    http, service.answer = Http(), give
    try:
        with pytest.raises(Refused) as caught:
            await origin(http, server, secret_source(server)).create("jobs", json={})
    finally:
        await http.close()
    assert caught.value.status == 401
    assert "tok-nobody" not in caught.value.message, "the token that was repeated is masked"
    assert len(service.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_failing_token_endpoint_is_try_later_with_what_to_do(
    service: Service, server: TestServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    said = {"error": "invalid_client", "error_description": f"AADSTS7000215: Invalid client secret {SECRET} provided."}
    service.answer = lambda: web.json_response(said, status=status)
    http = Http()
    try:
        with caplog.at_level(logging.DEBUG), pytest.raises(TryLater) as caught:
            await origin(http, server, secret_source(server)).create("jobs", json={})
    finally:
        await http.close()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert "check tenant, client and client secret" in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text
    assert service.bodies == [], "nothing was sent"
    if status < 429:
        assert "AADSTS7000215" in str(caught.value)


async def test_what_is_asked_of_entra_and_of_a_machine(service: Service, server: TestServer, tmp_path: Path) -> None:
    http, url, file = Http(), str(server.make_url("/")).rstrip("/"), tmp_path / "token"
    client = entra.Client("tenant", "client", authority=url)
    try:
        await secret_source(server).fetch(http)
        for proof in ("first-assertion", "second-assertion"):
            file.write_text(f"{proof}\n")
            await entra.FederatedFile(client, str(file)).fetch(http)
        token = await entra.ManagedIdentity("some-id", service=url).fetch(http)
        with pytest.raises(TryLater, match="cannot be read"):
            await entra.FederatedFile(client, str(tmp_path / "none")).fetch(http)
    finally:
        await http.close()
    assert token.seconds == 3600
    by_secret, *by_file, by_machine = service.asked
    asked = {"grant_type": "client_credentials", "client_id": "client", "scope": entra.COGNITIVE_SERVICES}
    assert by_secret == {**asked, "client_secret": SECRET, "metadata": None}
    assert [each["client_assertion"] for each in by_file] == ["first-assertion", "second-assertion"]
    assert by_machine == {
        "api-version": "2018-02-01",
        "resource": "https://cognitiveservices.azure.com",
        "client_id": "some-id",
        "metadata": "true",
    }


def certified() -> tuple[str, Any]:
    """Return a private key and its certificate as one PEM, and the certificate."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + timedelta(days=1))
    own = made.sign(key, hashes.SHA256())
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private = key.private_bytes(serialization.Encoding.PEM, *form)
    return (own.public_bytes(serialization.Encoding.PEM) + private).decode(), own


async def test_a_client_proves_itself_with_a_certificate(service: Service, server: TestServer) -> None:
    (pem, own), url = certified(), str(server.make_url("/")).rstrip("/")
    http, client = Http(now=lambda: 1_800_000_000.9), entra.Client("tenant", "client", authority=url)
    try:
        for whole in (pem, pem[pem.index("-----BEGIN PRIVATE") :] + pem):  # in either order
            await entra.ClientCertificate(client, whole).fetch(http)
        with pytest.raises(NoToken, match="check its PEM"):
            await entra.ClientCertificate(client, pem[:200]).fetch(http)
    finally:
        await http.close()
    for asked in service.asked:
        signed, _, signature = asked["client_assertion"].rpartition(".")
        own.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        head, claims = (json.loads(_decoded(each)) for each in signed.split("."))
        assert _decoded(head["x5t#S256"]) == own.fingerprint(hashes.SHA256())
        assert (head["alg"], claims["iss"], claims["sub"]) == ("RS256", "client", "client")
        assert claims["aud"] == f"{url}/tenant/oauth2/v2.0/token"
        assert (claims["nbf"], claims["exp"]) == (1_800_000_000, 1_800_000_600)
        assert asked["client_assertion_type"].endswith("jwt-bearer")
    assert len({asked["client_assertion"] for asked in service.asked}) == 2, "each has an id of its own"
    assert pem not in repr(entra.ClientCertificate(client, pem))


async def test_a_service_accounts_assertion(service: Service, server: TestServer) -> None:
    http = Http(now=lambda: 1_800_000_000.9)
    account = google.ServiceAccount(service_account("sk-some"), tokens=str(server.make_url("/token")))
    try:
        await account.fetch(http)
        with pytest.raises(TryLater, match="check its JSON"):
            await google.ServiceAccount('{"client_email":"a","private_key":"no key"}').fetch(http)
    finally:
        await http.close()
    head, claims, _ = service.asked[0]["assertion"].split(".")
    assert json.loads(_decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "sk-some"}
    assert json.loads(_decoded(claims)) == {
        "iss": "batches@sandbox.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("answer", ["{}", '{"access_token": ""}', '{"access_token": 3}', "<html>", "[]"])
async def test_an_answer_without_a_token_is_none(service: Service, server: TestServer, answer: str) -> None:
    service.answer = lambda: web.Response(text=answer, content_type="application/json")
    http = Http()
    try:
        with pytest.raises(TryLater, match="no token from"):
            await secret_source(server).fetch(http)
    finally:
        await http.close()


def test_no_secret_is_shown_of_a_source() -> None:
    shown = [
        entra.ClientSecret(CLIENT, SECRET),
        google.ServiceAccount(SECRET),
        Token(SECRET, 1.0),
    ]
    assert SECRET not in repr(shown)


def test_the_stand_ins_check_gives_the_signature_of_aws_own_example() -> None:
    """AWS General Reference, "Signature Version 4 signing process", the example that lists users of IAM."""
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": "iam.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
    }
    request = sigv4.Request("GET", "/", "Action=ListUsers&Version=2010-05-08", headers)
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    found = sigv4.signature_of(request, secret, "20150830/us-east-1/iam", sorted(headers), sigv4.NOTHING)
    assert found == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


REMEDIES = [
    ("SignatureDoesNotMatch", "The request signature we calculated does not match.", "check aws_secret_access_key"),
    ("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 2026", "set the clock"),
    ("InvalidSignatureException", "Signature not yet current: 20270101T000000Z", "set the clock"),
    ("InvalidSignatureException", "Credential should be scoped to a valid region.", "check the region"),
    ("RequestTimeTooSkewed", "The difference between the request time and ours is too large.", "set the clock"),
    ("ExpiredToken", "The provided token has expired.", "the session is over"),
    ("ExpiredTokenException", "The security token included in the request is expired", "the session is over"),
    (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        "check aws_access_key_id",
    ),
    ("InvalidClientTokenId", "The security token included in the request is invalid.", "check aws_access_key_id"),
    ("AccessDenied", "User: u is not authorized to perform: sts:AssumeRole on resource: r", "trust policy"),
    ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", "trusts the identity provider"),
    ("AccessDenied", "Access Denied", "allow the action"),
    ("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)", "set the clock"),
    ("invalid_grant", "Invalid JWT Signature.", "check the private key"),
    ("invalid_grant", "Invalid grant: account not found", "check client_email"),
    ("PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied", "TokenCreator"),
    ("permission_error", "Signature expired: 20200101T000000Z is now earlier than 20261130T000000Z", "set the clock"),
    ("permission_error", "The request signature we calculated does not match the signature", "aws_secret_access_key"),
    ("permission_error", "Credential should be scoped to a valid region.", "check the region"),
    ("permission_error", "The security token included in the request is expired", "the session is over"),
    ("rate_limit_exceeded", "Slow down.", ""),
]


@pytest.mark.parametrize(("code", "words", "says"), REMEDIES)
def test_a_refusal_of_a_proof_says_what_to_do(code: str, words: str, says: str) -> None:
    found = remedy(code, words)
    assert says in found
    assert bool(found) == bool(says)


async def test_a_refused_signature_says_what_to_do_and_a_key_in_a_header_is_not_asked(aiohttp_server: Serve) -> None:
    text = "<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message></Error>"

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text=text, content_type="application/xml")

    app, http = web.Application(), Http()
    app.router.add_route("*", "/{tail:.*}", refuse)
    url, said = str((await aiohttp_server(app)).make_url("/v1")), list[str]()
    try:
        for signer in (Bearer(http, Source()), None):
            with pytest.raises(Refused) as caught:
                await http.origin("prod", url, {}, signer=signer).request("GET", "jobs")
            said.append(caught.value.message)
            assert caught.value.code == "SignatureDoesNotMatch"
    finally:
        await http.close()
    assert said[0].startswith("It does not match. (check aws_secret_access_key")
    assert said[1] == "It does not match."
