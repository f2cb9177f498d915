"""Where models are allow-listed a body names one, once: what is asked about is what the provider reads."""

from __future__ import annotations

import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.providers.base import LineRejected

CHAT = "/v1/chat/completions"
LISTED = TargetLane(TargetSpec(slug="a", provider="openai"), CHAT, listed=True)
BY_ACCOUNT = TargetLane(TargetSpec(slug="a", provider="openai", models=("gpt-4.1",)), CHAT)
OPEN = TargetLane(TargetSpec(slug="a", provider="openai"), CHAT)

TWICE = [
    b'{"model":"a","model":"b"}',
    b'{"model":"a","messages":[],"model":"a"}',
    b'{"Model":"a","model":"b"}',
    b'{"model":"a","MODEL" : "b"}',
    b'{"model":"a","mod\\u0065l":"b"}',
    b'{"\\u006dodel":"a","model":"b"}',
    b'{"model":"a","M\\u004fDEL":"b"}',
    b'{ "model" :"a", "x":{"model":"c"}, "mOdEl":null}',
]
ONCE = [
    b'{"model":"a"}',
    b'{"model":"a","x":{"model":"b"},"y":[{"Model":1}]}',
    b'{"model":"a","text":"\\"model\\":\\"b\\""}',
    b'{"model":"model","models":["b"],"model_":"c"}',
    b'{"messages":[{"content":"{\\"model\\": 1}"}],"model":"a"}',
]


@pytest.mark.parametrize("lane", [LISTED, BY_ACCOUNT])
@pytest.mark.parametrize("body", TWICE)
def test_a_second_model_is_refused_where_models_are_listed(body: bytes, lane: TargetLane) -> None:
    with pytest.raises(LineRejected) as caught:
        lane.edited(body)
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "body.model")
    assert OPEN.edited(body)[0] == body


@pytest.mark.parametrize("lane", [LISTED, BY_ACCOUNT, OPEN])
@pytest.mark.parametrize("body", ONCE)
def test_one_model_is_one_whatever_stands_elsewhere(body: bytes, lane: TargetLane) -> None:
    assert lane.edited(body) == (body, ())
