"""Keys, virtual keys, configs and headers that cannot be: each request, and the whole error that answers it."""

from __future__ import annotations

import json

from proxy_plugin.providers import catalog
from tests.api.bad_input.rig import FEW_KEY, JSON, NO_KEYS_KEY, ORDER, Case

NO_KEY = "No API key: send a key of this gateway as 'x-portkey-api-key: KEY' or as 'Authorization: Bearer KEY'."
WRONG_KEY = "Portkey Error: Invalid API Key. Error Code: 03"
REMEDY = ". Name a virtual key that this gateway has, as 'x-portkey-provider: @slug'."
NOT_JSON = "Invalid config passed. You need to pass a valid json: x-portkey-config cannot be read as one."
NO_SUCH_CONFIG = "Invalid config id passed: x-portkey-config takes JSON, or the id of a saved config (pc-...)."
NO_PROVIDER_KEY = (
    "'x-portkey-provider: NAME' needs the provider's own key as 'Authorization: Bearer KEY', beside the key of this "
    "gateway in 'x-portkey-api-key'. To use a virtual key send 'x-portkey-provider: @slug'."
)
NOTHING_NAMED = (
    "A batch needs a provider account to run on: send 'x-portkey-provider: @slug' or 'x-portkey-virtual-key: slug'. "
    "There is none that the lines could name for this API key."
)
NO_SUCH_MODEL = "body.model names no model that this API key can reach; write '@slug/model', or a name of GET /models."
KNOWN = ", ".join(sorted(catalog.names()))
UNKNOWN_PROVIDER = (
    f"x-portkey-provider names no provider that is served. Known: {KNOWN}; virtual keys are '@slug'. Did you mean "
    "'together-ai'? Nor has litellm calls of that name. A server that copies OpenAI's Files and Batches is served as "
    "'openai-compatible', with its base URL, version path included, in x-portkey-custom-host."
)
MISPLACED_HOST = (
    "x-portkey-custom-host goes only with a provider key of your own: 'x-portkey-provider: NAME', the key in "
    "Authorization."
)
UNKNOWN_STRATEGY = "Invalid config passed: strategy.mode: must be one of single, loadbalance, conditional, fallback."
MANY = {"targets": [{"virtual_key": "lane", "name": "n" * 400} for _ in range(64)]}


def caller(name: str, message: str, **headers: str | None) -> Case:
    sent = {"x-portkey-api-key": None} | {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, 401, message, code="invalid_api_key", method="GET", path="/files", headers=sent)


CALLERS = [
    caller("no key", NO_KEY),
    caller("an empty key", NO_KEY, x_portkey_api_key=""),
    caller("another scheme", NO_KEY, authorization="Basic Zm9vOmJhcg=="),
    caller("the placeholder of an SDK", NO_KEY, authorization="Bearer OPENAI_API_KEY"),
    caller("a wrong key", WRONG_KEY, x_portkey_api_key="wrong"),
    caller("a wrong bearer token", WRONG_KEY, authorization="Bearer wrong"),
    caller("a wrong key before a right one", WRONG_KEY, x_portkey_api_key="wrong", authorization=f"Bearer {FEW_KEY}"),
]


def target(name: str, message: str, param: str | None = None, code: str | None = None, **headers: str) -> Case:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    status = 403 if code == "permission_denied" else 400
    return Case(name, status, message, param, code, headers=JSON | sent, body=json.dumps(ORDER).encode())


def config(name: str, text: str, message: str) -> Case:
    return target(name, message, "x-portkey-config", "invalid_config", x_portkey_config=text)


TARGETS = [
    target(
        "unknown",
        f"Following keys are not valid: nobody{REMEDY}",
        "x-portkey-virtual-key",
        "invalid_virtual_key",
        x_portkey_virtual_key="nobody",
    ),
    target(
        "unknown @",
        f"Following keys are not valid: nobody{REMEDY}",
        "x-portkey-provider",
        "invalid_virtual_key",
        x_portkey_provider="@nobody",
    ),
    target(
        "a secret",
        f"Following keys are not valid: ***{REMEDY}",
        "x-portkey-virtual-key",
        "invalid_virtual_key",
        x_portkey_virtual_key="sk-0123456789abcdefghijkl",
    ),
    target(
        "retired",
        "The virtual key old is retired and takes no new work.",
        "x-portkey-virtual-key",
        "virtual_key_retired",
        x_portkey_virtual_key="old",
    ),
    target(
        "disabled",
        "The virtual key off is disabled: environment variable KEY_THAT_IS_NOT_SET is not set.",
        "x-portkey-virtual-key",
        "virtual_key_disabled",
        x_portkey_virtual_key="off",
    ),
    target(
        "disallowed",
        "This API key may not use the virtual key slow.",
        "x-portkey-virtual-key",
        "permission_denied",
        x_portkey_virtual_key="slow",
        x_portkey_api_key=FEW_KEY,
    ),
    target("none, and none that lines could name", NOTHING_NAMED, "x-portkey-provider", x_portkey_api_key=NO_KEYS_KEY),
    target(
        "a provider without its key",
        NO_PROVIDER_KEY,
        "Authorization",
        "provider_key_missing",
        x_portkey_provider="openai",
    ),
    target(
        "an unknown provider",
        UNKNOWN_PROVIDER,
        "x-portkey-provider",
        x_portkey_provider="Together",
        authorization="Bearer sk-x",
    ),
    target(
        "a custom host for somebody else's key",
        MISPLACED_HOST,
        "x-portkey-custom-host",
        x_portkey_virtual_key="lane",
        x_portkey_custom_host="http://127.0.0.1:9",
    ),
    target(
        "an empty Idempotency-Key",
        "Idempotency-Key must have 1 to 255 characters, not 0.",
        "Idempotency-Key",
        x_portkey_virtual_key="lane",
        idempotency_key="",
    ),
    target(
        "a long Idempotency-Key",
        "Idempotency-Key must have 1 to 255 characters, not 256.",
        "Idempotency-Key",
        x_portkey_virtual_key="lane",
        idempotency_key="k" * 256,
    ),
    config("config: not JSON", "{nope", NOT_JSON),
    config("config: nested 7,000 deep", "[" * 7000, NOT_JSON),
    config("config: nested 30,000 deep", "[" * 30_000, NOT_JSON),
    config("config: 28 kB that name no mode", json.dumps(MANY | {"strategy": {"mode": "x"}}), UNKNOWN_STRATEGY),
    config("config: an array", "[]", "Invalid config passed: the config: must be a JSON object."),
    config("config: a number", "7", NO_SUCH_CONFIG),
    config("config: an unknown id", "pc-nobody", NO_SUCH_CONFIG),
    config(
        "config: an unknown strategy",
        '{"strategy": {"mode": "x"}, "targets": [{"virtual_key": "lane"}]}',
        UNKNOWN_STRATEGY,
    ),
    target(
        "config: an unknown virtual key",
        f"Following keys are not valid: nobody{REMEDY}",
        "x-portkey-config",
        "invalid_virtual_key",
        x_portkey_config='{"virtual_key": "nobody"}',
    ),
]
