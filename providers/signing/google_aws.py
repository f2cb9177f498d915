"""A workload of AWS as an account of Google: its proof is a call of STS that it has signed and does not make.

Sources: AIP-4117 ("Determining the subject token in AWS"), google-auth 2.63.0, `aws.py`. Whose keys sign is found as
AWS's tools find it (`accounts.AwsCredentials`), a web identity's and a profile's among them, which google-auth lacks.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from proxy_plugin.providers.errors import NoToken
from proxy_plugin.providers.signing.aws import Keys
from proxy_plugin.providers.signing.tokens import TokenSource, telling

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http

KIND = "aws1"  # `environment_id` of a credential_source
NEEDED = ("region_url", "regional_cred_verification_url")
TARGET = "x-goog-cloud-target-resource"


@dataclass(frozen=True, slots=True)
class Workload:
    """Keys of AWS, and the region whose STS is named; None where the machine is asked for it."""

    keys: Keys | TokenSource
    region: str | None

    async def proof(self, http: Http, source: dict[str, Any], audience: str) -> str:
        """Return the signed call as text. Raises `TryLater`."""
        keys = self.keys
        held = keys if isinstance(keys, Keys) else Keys(*json.loads(await http.tokens.of(http, keys)))
        region = self.region or await _region(http, str(source["region_url"]))
        url = str(source["regional_cred_verification_url"]).replace("{region}", region)
        return await asyncio.to_thread(_signed, held, region, url, audience)


async def _region(http: Http, url: str) -> str:
    """Ask the machine for its availability zone, which is its region and a letter."""
    base, _, path = url.rpartition("/")
    async with telling(url, "set AWS_REGION, or check region_url of credential_source"):
        service = http.carrying({}).origin(f"token\x1f{url}", url.partition("/latest/")[0], {})
        lease = await service.text("PUT", "latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"})
        proof = {"X-aws-ec2-metadata-token": lease.decode("ascii", "replace").strip()}
        zone = await http.carrying({}).origin(f"token\x1f{url}", base, proof).text("GET", path)
    return zone.decode("ascii", "replace").strip()[:-1]


def _signed(keys: Keys, region: str, url: str, audience: str) -> str:
    try:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415
    except ImportError:
        raise NoToken("AWS signatures need botocore: pip install 'proxy-plugin[aws]'") from None
    request = AWSRequest("POST", url, {TARGET: audience, "host": urlsplit(url).netloc})
    SigV4Auth(Credentials(keys.id, keys.secret, keys.token), "sts", region).add_auth(request)
    headers = [{"key": name, "value": value} for name, value in sorted(request.headers.items())]
    return quote(json.dumps({"headers": headers, "method": "POST", "url": url}, separators=(",", ":")))
