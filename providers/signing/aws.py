"""AWS Signature Version 4, by botocore's own signer, which is imported where such an account exists and nowhere else.

Keys are static or those of a session. A chain that finds or renews keys belongs between `Keys` and the account: it
returns another `Keys` for each call, and `renew` is asked after a 401.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from proxy_plugin.providers.errors import TryLater
from proxy_plugin.providers.signing.signer import Outgoing, Signed

CONTENT_TYPE = "Content-Type"
STORE = "s3"  # the one service whose paths are signed as they are written


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key; `token` where it is that of a session."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SigV4:
    """Signs each call for one service in one region. See `signer.Signer`."""

    keys: Keys
    service: str
    region: str

    async def sign(self, call: Outgoing) -> Signed:
        """Sign host, time, body and content type, not what a proxy on the way may change. Hashes on a thread."""
        return await asyncio.to_thread(self._signed, call)

    async def renew(self, refused: Signed) -> bool:  # noqa: ARG002
        """Each call has a signature of its own already."""
        return False

    def _signed(self, call: Outgoing) -> Signed:
        try:
            from botocore.auth import S3SigV4Auth, SigV4Auth  # noqa: PLC0415
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.credentials import Credentials  # noqa: PLC0415
        except ImportError:
            raise TryLater("AWS signatures need botocore: pip install 'proxy-plugin[aws]'") from None
        logging.getLogger("botocore").setLevel(logging.INFO)  # below, it logs what it signs, a session's token with it
        sha256, own = call.sha256(), {name: value for name, value in call.headers.items() if _is_signed(name)}
        request = AWSRequest(call.method, _canonical(call.url), {**own, "X-Amz-Content-SHA256": sha256})
        credentials = Credentials(self.keys.id, self.keys.secret, self.keys.token)
        signer = (S3SigV4Auth if self.service == STORE else SigV4Auth)(credentials, self.service, self.region)
        signer.payload = lambda _request: sha256  # S3's would hash the body anew, which is not here
        signer.add_auth(request)
        headers = {name: value for name, value in request.headers.items() if name not in own}
        return Signed(headers, self.keys.token or "")


def _is_signed(name: str) -> bool:
    return name == CONTENT_TYPE or name.lower().startswith("x-amz")


def _canonical(url: str) -> str:
    """Return a URL whose query is written as AWS writes it before it is signed: everything but letters encoded."""
    place, mark, query = url.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return place + mark + "&".join(f"{_again(name)}={_again(value)}" for name, _, value in pairs)


def _again(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
