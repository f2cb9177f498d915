"""The process that makes calls, without the process: its server runs on the test's own event loop."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy_plugin.alone import front
from proxy_plugin.alone.called import CalledAccounts
from proxy_plugin.alone.order import CalledAccount, CallTerms, News
from proxy_plugin.alone.worker import listening
from proxy_plugin.providers.direct.base import Outgoing


class CallsHere:
    """As `CallingProcess`."""

    def __init__(self, terms: CallTerms) -> None:
        self.calls = 0
        self._terms, self._accounts, self._number = terms, CalledAccounts(), 0
        self._folder = Path(tempfile.mkdtemp())
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def told(
        self,
        config: object,  # noqa: ARG002 - they are told anew each time
        accounts: Mapping[str, CalledAccount],
        outgoing: Outgoing,
        brought: Mapping[str, CalledAccount],
    ) -> tuple[aiohttp.ClientSession, int]:
        """Learn at once."""
        if self._session is None:
            self._runner = await listening(str(self._folder / "s"), self._accounts, self._terms)
            connector = aiohttp.UnixConnector(str(self._folder / "s"))
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        for news, whole in ((accounts, True), (brought, False)):
            self._number += 1
            await self._accounts.learn(News(self._number, news, outgoing, whole))
        return self._session, self._number

    async def failed(self, session: aiohttp.ClientSession) -> None:
        """Never."""
        raise AssertionError(session)

    async def close(self) -> None:
        """End it."""
        if self._session is not None and self._runner is not None:
            await self._session.close()
            await self._runner.cleanup()
            await self._accounts.close()
        (self._folder / "s").unlink(missing_ok=True)
        self._folder.rmdir()


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways make their calls here."""
    monkeypatch.setattr(front, "CallingProcess", CallsHere)
