"""Connections opened ahead, on a machine that may be slow."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.http import ahead


def never_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection be too old, and no call too late, because the machine is slow."""
    monkeypatch.setattr(ahead, "LIFE_SECONDS", 600.0)
    monkeypatch.setattr(ahead, "OPEN_SECONDS", 600.0)
