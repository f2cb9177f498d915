"""Keys of AWS that a service gives out for a while: STS for a role, the agent of a container, a machine's own service.

Sources: STS API reference (AssumeRole, AssumeRoleWithWebIdentity, version 2011-06-15); "AWS SDKs and Tools Reference
Guide": container credential provider, IMDS credential provider (token first), assume role; the hosts of containers
and the ways that are asked first, one after the other, as in botocore 1.44.5 (`credentials.py`, `utils.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing.aws import CONTENT_TYPE, Keys, SigV4
from proxy_plugin.providers.signing.tokens import Token, TokenSource, seconds_until, telling

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

AGENT = "http://169.254.170.2"  # of a container, where its URI is relative
AGENTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})  # beside loopback and TLS
MACHINE = "http://169.254.169.254"
SECONDS = 3600  # that a role's keys live: the most of a role that another role takes
_VERSION = "2011-06-15"
_FORM = {CONTENT_TYPE: "application/x-www-form-urlencoded; charset=utf-8"}
_NAMES = ("AccessKeyId", "SecretAccessKey")
_LEASE = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}


@dataclass(frozen=True, slots=True)
class Sts:
    """Where roles are taken. `endpoint` replaces that of the region."""

    region: str
    endpoint: str | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint or f"https://sts.{self.region}.{domain}"

    async def ask(self, http: Http, action: str, fields: Mapping[str, str], remedy: str, keys: Keys | None) -> Token:
        """Take a role. Raises `NoToken`."""
        signer = None if keys is None else SigV4(keys, "sts", self.region)
        form = {"Action": action, "Version": _VERSION, "DurationSeconds": str(SECONDS), **fields}
        proofs = (fields.get("WebIdentityToken"), *((keys.secret, keys.token) if keys else ()))
        secrets = tuple(each for each in proofs if each)
        async with telling(self.url, remedy, secrets) as where:
            origin = http.carrying({}).origin(f"token\x1f{self.url}", self.url, {}, signer=signer)
            answer = await origin.text("POST", "/", body=urlencode(form).encode(), headers=_FORM)
        text = answer.decode("utf-8", "replace")
        told = {name: _element(text, name) for name in (*_NAMES, "SessionToken", "Expiration")}
        return _token({**told, "Token": told["SessionToken"]}, http.now(), where)


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A role that other keys may take. See `tokens.TokenSource`."""

    base: Keys | TokenSource
    role: str
    session: str
    external_id: str | None
    sts: Sts

    async def fetch(self, http: Http) -> Token:
        """Sign with the base keys and take the role."""
        base = self.base
        keys = base if isinstance(base, Keys) else Keys(*json.loads(await http.tokens.of(http, base)))
        fields = {"RoleArn": self.role, "RoleSessionName": self.session}
        if self.external_id is not None:
            fields["ExternalId"] = self.external_id
        remedy = f"check that {self.role} exists and trusts these keys, with this external id"
        return await self.sts.ask(http, "AssumeRole", fields, remedy, keys)


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """A role for whoever holds a token, which the platform writes anew before it ends. See `tokens.TokenSource`."""

    role: str
    session: str
    path: str
    sts: Sts

    async def fetch(self, http: Http) -> Token:
        """Read the file and take the role."""
        proof = await _read(self.path, "the web identity token file")
        fields = {"RoleArn": self.role, "RoleSessionName": self.session, "WebIdentityToken": proof}
        remedy = f"check that {self.role} exists and trusts the provider of {self.path}"
        return await self.sts.ask(http, "AssumeRoleWithWebIdentity", fields, remedy, None)


@dataclass(frozen=True, slots=True)
class Container:
    """The role of a container, by its agent; what is sent as `Authorization` may stand in a file."""

    url: str
    secret: str | None = field(default=None, repr=False)
    path: str | None = None

    async def fetch(self, http: Http) -> Token:
        """Ask the agent."""
        secret = await _read(self.path, "the authorization token file") if self.path else self.secret
        if not _is_agent(self.url):
            raise NoToken("no keys: AWS_CONTAINER_CREDENTIALS_FULL_URI is neither TLS, loopback nor an agent of AWS")
        place, (base, _, path) = urlsplit(self.url), self.url.partition("?")[0].rpartition("/")
        params = dict(pair.partition("=")[::2] for pair in place.query.split("&") if pair)
        proof = {"Authorization": secret} if secret else {}
        async with telling(self.url, "check the role of the task or pod", (secret,) if secret else ()) as where:
            origin = http.carrying({}).origin(f"token\x1f{self.url}", base, proof)
            answer = await origin.request("GET", path, params=params)
        return _token(answer.fields(), http.now(), where)


@dataclass(frozen=True, slots=True)
class Instance:
    """The role of a machine, by its own service: a token first, then the role's name, then its keys."""

    url: str = MACHINE

    async def fetch(self, http: Http) -> Token:
        """Ask the machine."""
        remedy = "no key is set, so the role of this machine was asked for: set aws_access_key_id, or give it a role"
        async with telling(self.url, remedy) as where:
            origin = http.carrying({}).origin(f"token\x1f{self.url}", f"{self.url}/latest", {})
            lease = {"X-aws-ec2-metadata-token": _plain(await origin.text("PUT", "api/token", headers=_LEASE))}
            roles = f"{self.url}/latest/meta-data/iam/security-credentials"
            named = http.carrying({}).origin(f"token\x1f{self.url}", roles, lease)
            role = _plain(await named.text("GET", "/"))
            answer = await named.request("GET", role)
        return _token(answer.fields(), http.now(), where)


def _token(told: Mapping[str, Any], now: float, where: str) -> Token:
    """Return keys as they are told; they live until a moment."""
    found = [told.get(name) for name in (*_NAMES, "Token")]
    if not all(isinstance(each, str) and each.isascii() and each.isprintable() and each for each in found):
        raise NoToken(f"no keys from {where}: the answer holds none")
    return Token(Keys(*map(str, found)).text(), seconds_until(told.get("Expiration"), now))


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]).strip() if found else ""


def _plain(answer: bytes) -> str:
    """Return a line of text; of several the first."""
    text = answer.decode("ascii", "replace").strip().partition("\n")[0].strip()
    if not re.fullmatch(r"[A-Za-z0-9+/=_.,@-]{1,4096}", text):
        raise NoToken("no keys: the machine's service answers with what is neither a token nor the name of a role")
    return text


async def _read(path: str, what: str) -> str:
    try:
        text = (await asyncio.to_thread(Path(path).read_text, "ascii")).strip()
    except (OSError, UnicodeError) as error:
        raise NoToken(f"no keys: {what} {path} cannot be read ({type(error).__name__}); check its mount") from None
    if not text or not text.isprintable():
        raise NoToken(f"no keys: {what} {path} holds no token; check its mount")
    return text


def _is_agent(url: str) -> bool:
    place = urlsplit(url)
    host = place.hostname or ""
    try:
        return place.scheme == "https" or host in AGENTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
