"""Calls of an account whose proof may be a token that ends: each goes out with the one that lives then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from proxy_plugin.providers.direct.base import Caller, NotSent, Outgoing, Reply, Stream, Streams
from proxy_plugin.providers.errors import TryLater
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.signing.azure_accounts import EntraCredentials
from proxy_plugin.providers.signing.signer import Outgoing as Signing

T = TypeVar("T", bound=Stream | Reply)
_UNSIGNED = Signing("POST", "", {}, str)  # a bearer token is the same for every call


class Renewed:
    """Makes calls by `calls(headers)`, anew whenever the headers that prove the account have changed."""

    def __init__(
        self, credentials: EntraCredentials, outgoing: Outgoing, calls: Callable[[Mapping[str, str]], Caller]
    ) -> None:
        self._http = Http(HttpSettings(outgoing_proxy=outgoing.proxy, ca_bundle=outgoing.ca_bundle))
        self._secret, self._signer = credentials.prove(self._http)
        self._calls = calls
        self._callers = dict[str, Caller]()  # by token; those of older ones may still have calls in flight

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:
        """Make the call; one that is answered with 401 once more, where there is a newer token."""
        return await self._with_token(lambda caller: caller.call(endpoint, body, native_id, timeout))

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Stream | Reply:
        """Make the call as `call` does."""

        def begun(caller: Caller) -> Awaitable[Stream | Reply]:
            assert isinstance(caller, Streams)
            return caller.stream(endpoint, body, native_id, timeout)

        return await self._with_token(begun)

    async def _with_token(self, call: Callable[[Caller], Awaitable[T]]) -> T:
        try:
            reply = await call(await self._caller())
            if reply.status != 401 or self._signer is None:
                return reply
            signed = await self._signer.sign(_UNSIGNED)
            if not await self._signer.renew(signed):
                return reply
            return await call(await self._caller())
        except TryLater as error:
            raise NotSent(str(error)) from None

    async def close(self) -> None:
        """Close all connections."""
        for caller in self._callers.values():
            await caller.close()
        await self._http.close()

    async def _caller(self) -> Caller:
        signed = await self._signer.sign(_UNSIGNED) if self._signer else None
        kept, headers = (signed.kept, signed.headers) if signed else ("", self._secret)
        if kept not in self._callers:
            self._callers[kept] = self._calls(headers)
        return self._callers[kept]
