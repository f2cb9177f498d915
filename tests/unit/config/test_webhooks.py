"""Receivers in the configuration: what is taken, and what is refused without showing a secret."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.config import Config, parse
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.masking import secrets_in
from proxy_plugin.ground.webhooks import ENDS

SECRET = "whsec_" + "A" * 43 + "="
ENTRY = {"url": "https://example.com/hook?team=1", "secret": SECRET}


def read(*entries: Any) -> Config:
    return parse({"proxy_plugin": {"webhooks": list(entries)}}, {"HOOK": SECRET})


def test_an_entry_is_read_and_its_secret_is_known_to_be_one() -> None:
    config = read(ENTRY | {"secret": "os.environ/HOOK", "previous_secrets": [SECRET]}, {"secret": SECRET})
    first, second = config.webhooks
    assert (first.url, first.workspace, first.events, first.secrets()) == (ENTRY["url"], "default", ENDS, [SECRET] * 2)
    assert second.url is None
    assert SECRET in set(secrets_in(config))
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"url": "https://example.com"}, "webhooks.0.secret: missing setting"),
        (ENTRY | {"secret": "os.environ/NOBODY"}, "environment variable NOBODY is not set"),
        (ENTRY | {"secret": "not-a-secret"}, "webhooks.0.secret: must be whsec_"),
        (ENTRY | {"secret": "whsec_c2hvcnQ="}, "webhooks.0.secret: must be whsec_"),
        (ENTRY | {"previous_secrets": ["not-a-secret"]}, "webhooks.0.previous_secrets.0: must be whsec_"),
        (ENTRY | {"url": "https://me:pw@example.com"}, "webhooks.0.url: may not hold a user name"),
        (ENTRY | {"url": "/hook"}, "webhooks.0.url: must be an absolute"),
        (ENTRY | {"events": ["batch.done"]}, "webhooks.0.events.0: there is no such event; there are batch.completed"),
        (ENTRY | {"events": []}, "webhooks.0.events"),
        (ENTRY | {"uri": "x"}, "webhooks.0.uri: unknown setting; did you mean url?"),
        ("https://example.com", "webhooks.0: must be a mapping"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(entry: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(entry)
    assert problem in str(refused.value)
    assert not any(text in str(refused.value) for text in ("not-a-secret", "me:pw", "c2hvcnQ"))


def test_a_url_stands_once_in_a_workspace() -> None:
    with pytest.raises(ConfigError, match=r"webhooks.2: the workspace has an entry with the same url"):
        read(ENTRY, ENTRY | {"workspace": "other"}, ENTRY)
