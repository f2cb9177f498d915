"""Rules that choose among eight targets, drawn, and lines for them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.envelope import Envelope, decode_envelope
from proxy_plugin.routing.route import Case, Share, To, When

SPECS = [TargetSpec(slug=f"slug-{n}", provider="toy") for n in range(8)]


def line(model: str = "wool", **body: Any) -> Envelope:
    text = {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": {"model": model, **body}}
    return decode_envelope(json.dumps(text).encode())


WEIGHTS = st.one_of(st.integers(1, 100), st.floats(0.01, 100))
RULES = st.recursive(
    st.integers(0, 7).map(To),
    lambda inner: st.one_of(
        st.lists(st.tuples(WEIGHTS, inner), min_size=1, max_size=4).map(
            lambda pairs: Share(tuple(float(weight) for weight, _ in pairs), tuple(rule for _, rule in pairs))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda rules: When(
                tuple(Case({"params.n": {"$lt": place * 20}}, place) for place in range(len(rules) - 1)),
                tuple(rules),
                len(rules) - 1,
            )
        ),
    ),
    max_leaves=10,
)
