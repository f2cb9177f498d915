"""Outgoing HTTP for adapters."""

from __future__ import annotations

from collections.abc import Mapping

from proxy_plugin.providers.http.connections import Connections, HttpSettings
from proxy_plugin.providers.http.origin import Origin
from proxy_plugin.providers.signing.signer import Signer

__all__ = ["Http", "HttpSettings"]


class Http(Connections):
    """The client of all adapters: every call goes to an `Origin`."""

    def origin(
        self,
        account: str,
        base_url: str,
        secret_headers: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        *,
        signer: Signer | None = None,
    ) -> Origin:
        """Bind calls to `base_url`, with these `params` in the query of each. Equal `account` texts share the gate.

        What `signer` says of a call goes with it. The values of `secret_headers` are masked wherever a provider repeats
        them. Raises ValueError, without showing a value, for a base URL that is not plain http(s) and for a header that
        cannot be sent.
        """
        return Origin(self, account, base_url, secret_headers, headers or {}, params, signer)
