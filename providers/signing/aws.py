"""AWS Signature Version 4, by botocore's own signer, which is imported where such an account exists and nowhere else.

Keys are static or those of a session, or a source gives them out for a while (`aws_keys`): they are kept and renewed as
tokens are.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing.signer import Outgoing, Signed
from proxy_plugin.providers.signing.tokens import TokenSource

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

CONTENT_TYPE = "Content-Type"
STORE = "s3"  # the one service whose paths are signed as they are written
ENDED = frozenset({"ExpiredToken", "ExpiredTokenException"})


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key; `token` where it is that of a session."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def text(self) -> str:
        """Return the keys as the text of a token."""
        return json.dumps([self.id, self.secret, self.token])


@dataclass(frozen=True, slots=True)
class SigV4:
    """Signs each call for one service in one region. See `signer.Signer`. Keys that are given out need `http`."""

    keys: Keys | TokenSource
    service: str
    region: str
    http: Http | None = field(default=None, repr=False)

    @property
    def ended(self) -> frozenset[str]:
        """The codes after which keys that are given out are renewed."""
        return frozenset() if isinstance(self.keys, Keys) else ENDED

    async def sign(self, call: Outgoing) -> Signed:
        """Sign host, time, body and content type, not what a proxy on the way may change. Hashes on a thread."""
        keys = self.keys
        if isinstance(keys, Keys):
            return await asyncio.to_thread(self._signed, call, keys, "")
        kept = await self._client.tokens.of(self._client, keys)
        return await asyncio.to_thread(self._signed, call, Keys(*json.loads(kept)), kept)

    async def renew(self, refused: Signed) -> bool:
        """Replace the keys that were refused, if they are given out and nobody has yet."""
        if isinstance(self.keys, Keys):
            return False  # each call has a signature of its own already
        return await self._client.tokens.renew(self._client, self.keys, refused.kept)

    @property
    def _client(self) -> Http:
        if self.http is None:
            raise NoToken("this call cannot ask for keys of AWS; give the account an access key")
        return self.http

    def _signed(self, call: Outgoing, keys: Keys, kept: str) -> Signed:
        try:
            from botocore.auth import S3SigV4Auth, SigV4Auth  # noqa: PLC0415
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.credentials import Credentials  # noqa: PLC0415
        except ImportError:
            raise NoToken("AWS signatures need botocore: pip install 'proxy-plugin[aws]'") from None
        logging.getLogger("botocore").setLevel(logging.INFO)  # below, it logs what it signs, a session's token with it
        sha256, own = call.sha256(), {name: value for name, value in call.headers.items() if _is_signed(name)}
        request = AWSRequest(call.method, _canonical(call.url), {**own, "X-Amz-Content-SHA256": sha256})
        credentials = Credentials(keys.id, keys.secret, keys.token)
        signer = (S3SigV4Auth if self.service == STORE else SigV4Auth)(credentials, self.service, self.region)
        signer.payload = lambda _request: sha256  # S3's would hash the body anew, which is not here
        signer.add_auth(request)
        headers = {name: value for name, value in request.headers.items() if name not in own}
        return Signed(headers, keys.token or "", kept)


def _is_signed(name: str) -> bool:
    return name == CONTENT_TYPE or name.lower().startswith("x-amz")


def _canonical(url: str) -> str:
    """Return a URL whose query is written as AWS writes it before it is signed: everything but letters encoded."""
    place, mark, query = url.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return place + mark + "&".join(f"{_again(name)}={_again(value)}" for name, _, value in pairs)


def _again(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
