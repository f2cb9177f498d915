"""AWS Signature Version 4, by botocore's own signer, which is imported where such an account exists and nowhere else.

Keys are static or those of a session. A chain that finds or renews keys belongs between `Keys` and the account: it
returns another `Keys` for each call, and `renew` is asked after a 401.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from proxy_plugin.providers.errors import TryLater
from proxy_plugin.providers.signing.signer import Outgoing, Signed

CONTENT_TYPE = "Content-Type"


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
            from botocore.auth import SigV4Auth  # noqa: PLC0415
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.credentials import Credentials  # noqa: PLC0415
        except ImportError:
            raise TryLater("AWS signatures need botocore: pip install 'proxy-plugin[aws]'") from None
        logging.getLogger("botocore").setLevel(logging.INFO)  # below, it logs what it signs, a session's token with it
        kind = {CONTENT_TYPE: call.headers[CONTENT_TYPE]} if CONTENT_TYPE in call.headers else {}
        request = AWSRequest(call.method, call.url, {**kind, "X-Amz-Content-SHA256": call.sha256()})
        credentials = Credentials(self.keys.id, self.keys.secret, self.keys.token)
        SigV4Auth(credentials, self.service, self.region).add_auth(request)
        headers = {name: value for name, value in request.headers.items() if name not in kind}
        return Signed(headers, self.keys.token or "")
