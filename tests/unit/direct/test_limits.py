"""What headers ask of a whole account."""

from __future__ import annotations

import pytest

from proxy_plugin.direct.limits import LONGEST_PAUSE, asked_pause

NOW = 1_796_000_000.0  # 30 s before LATER
LATER = "Mon, 30 Nov 2026 00:53:50 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": LATER}, 30),
        ({"retry-after": LATER, "date": "Mon, 30 Nov 2026 00:53:40 GMT"}, 10),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "1e9"}, LONGEST_PAUSE),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12ms"}, 0.012),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2m59.56s"}, 179.56),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, 0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s", "retry-after": "4"}, 4),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-30T00:53:50Z",
            },
            30,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 7)}, 7),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "9"}, 9),
        ({"ratelimit-remaining": "0"}, 0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "1x2"}, 0),
    ],
)
def test_pauses(headers: dict[str, str], seconds: float) -> None:
    assert asked_pause(headers, NOW) == pytest.approx(seconds, abs=1e-3)
