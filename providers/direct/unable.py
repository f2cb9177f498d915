"""Who answers where no call can be made at all, so that a part ends with words that say what to do."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from proxy_plugin.providers.direct.base import Reply

STATUS = 403  # as for a key that may not: whatever asks again is answered the same


@dataclass(frozen=True, slots=True)
class Unable:
    """Refuses every call."""

    why: str

    async def call(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:  # noqa: ARG002
        """Return a refusal; nothing is sent."""
        error = {"message": self.why, "type": "invalid_request_error", "param": None, "code": "no_direct_way"}
        return Reply(STATUS, {}, msgspec.json.encode({"error": error}))

    async def stream(self, endpoint: str, body: bytes, native_id: str, timeout: float) -> Reply:
        """Refuse, as any call."""
        return await self.call(endpoint, body, native_id, timeout)

    async def close(self) -> None:
        """There is nothing to give back."""
