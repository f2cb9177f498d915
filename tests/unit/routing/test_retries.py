"""What a config says of calls that are answered at once."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.routing.config_text import Invalid
from proxy_plugin.routing.portkey_config import read
from proxy_plugin.routing.route import NO_RETRY, Retry


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, NO_RETRY),
        ({}, NO_RETRY),
        ({"attempts": 3}, Retry(3)),
        ({"attempts": 5, "on_status_codes": [429, 500]}, Retry(5, (429, 500))),
        ({"attempts": 1, "use_retry_after_header": True}, Retry(1, (), obeys_retry_after=True)),
        ({"attempts": 1, "use_retry_after_headers": True}, Retry(1, (), obeys_retry_after=True)),
    ],
)
def test_a_retry_is_read(said: object, found: Retry) -> None:
    assert read({"virtual_key": "a", "retry": said}).settings.retry == found


def test_children_inherit_until_they_say_their_own() -> None:
    children = [{"virtual_key": "a"}, {"virtual_key": "b", "retry": {"attempts": 0}, "request_timeout": 500}]
    config = {"strategy": {"mode": "fallback"}, "targets": children, "retry": {"attempts": 2}, "request_timeout": 9000}
    first, second = (node.settings for node in read(config).children)
    assert (first.retry, first.timeout) == (Retry(2), 9.0)
    assert (second.retry, second.timeout) == (Retry(0), 0.5)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"retry": 3}, "retry"),
        ({"retry": {"attempts": 6}}, "retry.attempts"),
        ({"retry": {"attempts": "2"}}, "retry.attempts"),
        ({"retry": {"attempts": 1, "on_status_codes": ["500"]}}, "retry.on_status_codes.0"),
        ({"request_timeout": 0}, "request_timeout"),
        ({"request_timeout": "soon"}, "request_timeout"),
    ],
)
def test_what_is_wrong_is_told_by_its_path(config: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        read({"virtual_key": "a"} | config)
    assert [problem.path for problem in refused.value.problems] == [path]
