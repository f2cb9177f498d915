"""Request headers: what the caller asks for, what is refused and why, and what may be passed on."""

from __future__ import annotations

import uuid

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from proxy_plugin.access.callers import Caller, Callers
from proxy_plugin.access.headers import find_virtual_key, read, resolve_target, response_headers, strip_credentials
from proxy_plugin.config import Config, VirtualKey, parse
from proxy_plugin.ground.errors import BadRequest, Forbidden
from proxy_plugin.providers.base import Credentials

SECRET = "sk-acme-5up3r-s3cr3t"
CALLER = Caller("dev", "default", ("acme-*", "off"))


class AcmeCredentials(Credentials):
    api_key: SecretStr = SecretStr(SECRET)


def virtual_key(slug: str, *, retired: bool = False) -> VirtualKey:
    return VirtualKey(slug=slug, provider="acme-ai", credentials=AcmeCredentials(), retired=retired)


CONFIG = Config(
    virtual_keys={
        "acme-a": virtual_key("acme-a"),
        "acme-b": virtual_key("acme-b"),
        "acme-old": virtual_key("acme-old", retired=True),
        "other": virtual_key("other"),
    },
    disabled={"off": "environment variable OFF_KEY is not set"},
)


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({f"x-portkey-{name.replace('_', '-')}": value for name, value in values.items()})


def refusal(**values: str) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        resolve_target(read(headers(**values)), CALLER, CONFIG)
    assert SECRET not in caught.value.message
    return caught.value


@pytest.mark.parametrize("sent", ["t", "my/trace:1", "x" * 128, "0b6f3c1e-3f63-4a41-9d5b-8d3b0c9a4f10"])
def test_a_trace_id_is_kept(sent: str) -> None:
    assert read(headers(trace_id=sent)).trace_id == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\tb", "a\r\nSet-Cookie: x", "ünï", "\udcff"])
def test_a_trace_id_that_could_do_harm_is_replaced(sent: str) -> None:
    assert uuid.UUID(read(headers(trace_id=sent)).trace_id).version == 4


def test_absent_trace_ids_are_all_different() -> None:
    assert read(headers()).trace_id != read(headers()).trace_id


@pytest.mark.parametrize(
    ("values", "slug", "provider"),
    [
        ({}, None, None),
        ({"provider": "@acme-a"}, "acme-a", None),
        ({"provider": "@acme-a/maker/model-1"}, "acme-a", None),
        ({"virtual_key": "acme-a"}, "acme-a", None),
        ({"virtual_key": "@acme-a"}, "acme-a", None),
        ({"provider": "@acme-b", "virtual_key": "acme-a"}, "acme-b", None),
        ({"provider": "acme-ai", "virtual_key": "acme-a"}, "acme-a", None),
        ({"provider": "acme-ai"}, None, "acme-ai"),
        ({"provider": "@cf/meta/llama"}, None, "@cf/meta/llama"),
        ({"provider": "@hf/x", "virtual_key": "acme-a"}, "acme-a", None),
        ({"provider": "", "virtual_key": ""}, None, None),
    ],
)
def test_the_target_is_read_strongest_header_first(
    values: dict[str, str], slug: str | None, provider: str | None
) -> None:
    found = read(headers(**values))
    assert (found.slug, found.provider) == (slug, provider)


@pytest.mark.parametrize(
    ("sent", "count"), [("0", 0), ("2", 2), ("", 0), ("-1", 0), ("1.5", 0), ("x", 0), ("٣", 0), ("9" * 5000, 0)]
)
def test_the_retry_count_is_a_small_number_or_nothing(sent: str, count: int) -> None:
    assert read(CIMultiDict({"X-Stainless-Retry-Count": sent})).retry_count == count


def test_no_retry_count_is_none_made() -> None:
    assert read(headers()).retry_count == 0


def test_an_idempotency_key_is_bounded() -> None:
    assert read(headers()).idempotency_key is None
    assert read(CIMultiDict({"idempotency-key": "k" * 255})).idempotency_key == "k" * 255
    for sent in ("", "k" * 256):
        found = read(CIMultiDict({"Idempotency-Key": sent}))
        with pytest.raises(BadRequest, match="1 to 255 characters") as caught:
            _ = found.idempotency_key
        assert caught.value.param == "Idempotency-Key"


def test_a_chosen_virtual_key_is_found() -> None:
    assert resolve_target(read(headers(provider="@acme-b/m")), CALLER, CONFIG) is CONFIG.virtual_keys["acme-b"]
    assert resolve_target(read(headers(virtual_key="acme-a")), CALLER, CONFIG) is CONFIG.virtual_keys["acme-a"]
    assert find_virtual_key("acme-a", CALLER, CONFIG) is CONFIG.virtual_keys["acme-a"]


def test_no_header_chooses_nothing() -> None:
    assert resolve_target(read(headers()), CALLER, CONFIG) is None


REMEDY = ". Name a virtual key that this gateway has, as 'x-portkey-provider: @slug'."


def test_an_unknown_virtual_key_is_refused_in_portkeys_words() -> None:
    assert refusal(virtual_key="nope").message == "Following keys are not valid: nope" + REMEDY
    assert refusal(provider="@").message == "Following keys are not valid: " + REMEDY


def test_a_key_put_into_the_wrong_header_is_not_echoed() -> None:
    assert refusal(virtual_key=SECRET).message == "Following keys are not valid: ***" + REMEDY
    assert len(refusal(virtual_key="x" * 9000).message) < 200
    assert refusal(virtual_key="ü\udcff").message == "Following keys are not valid: ??" + REMEDY


def test_a_virtual_key_of_others_is_forbidden_by_name() -> None:
    with pytest.raises(Forbidden, match="may not use the virtual key other"):
        resolve_target(read(headers(virtual_key="other")), CALLER, CONFIG)
    with pytest.raises(Forbidden, match="may not use the virtual key off"):
        find_virtual_key("off", Caller("x", "default", ("acme-*",)), CONFIG)


def test_a_disabled_virtual_key_says_why() -> None:
    error = refusal(virtual_key="off")
    assert error.message == "The virtual key off is disabled: environment variable OFF_KEY is not set."
    assert (error.status, error.code) == (400, "virtual_key_disabled")


def test_a_retired_virtual_key_takes_no_new_work() -> None:
    error = refusal(virtual_key="acme-old")
    assert (error.status, error.code) == (400, "virtual_key_retired")
    assert "acme-old is retired" in error.message


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"provider": "acme-ai"}, "x-portkey-provider"),
        ({"provider": "@cf/meta/llama"}, "x-portkey-provider"),
        ({"custom_host": f"http://{SECRET}@h/v1", "virtual_key": "acme-a"}, "x-portkey-custom-host"),
    ],
)
def test_what_is_not_served_is_refused_by_header(values: dict[str, str], param: str) -> None:
    error = refusal(**values)
    assert error.param == param
    assert "x-portkey-provider" in error.message


def test_no_repr_shows_what_may_hold_keys() -> None:
    assert SECRET not in repr(read(headers(config=SECRET, custom_host=SECRET)))


def test_answers_carry_portkeys_headers() -> None:
    common = {
        "x-portkey-trace-id": "t",
        "x-portkey-last-used-option-index": "config",
        "x-portkey-retry-attempt-count": "0",
        "x-portkey-cache-status": "DISABLED",
    }
    assert response_headers(None, "t") == common
    assert response_headers("acme-ai", "t") == common | {"x-portkey-provider": "acme-ai"}


GATEWAY_KEY, OTHER_KEY = "pk-alpha-key", "pk-beta-key"
KEYED = Callers(
    parse(
        {"proxy_plugin": {"api_keys": [{"name": "a", "key": GATEWAY_KEY}, {"name": "b", "key": OTHER_KEY}]}},
        {},
    )
)
OPEN = Callers(Config())


@pytest.mark.parametrize(
    ("callers", "pairs", "passed_on"),
    [
        (KEYED, {"Authorization": f"Bearer {GATEWAY_KEY}"}, set()),
        (KEYED, {"x-portkey-api-key": GATEWAY_KEY}, set()),
        (KEYED, {"X-Portkey-API-Key": GATEWAY_KEY, "Authorization": "Bearer upstream"}, {"Authorization"}),
        (KEYED, {"x-portkey-api-key": GATEWAY_KEY, "Authorization": f"Bearer {GATEWAY_KEY}"}, set()),
        (KEYED, {"x-portkey-api-key": GATEWAY_KEY, "authorization": f"bearer {OTHER_KEY}"}, set()),
        (KEYED, {"x-portkey-api-key": GATEWAY_KEY, "Authorization": "Bearer OPENAI_API_KEY"}, set()),
        (KEYED, {"x-portkey-api-key": GATEWAY_KEY, "api-key": GATEWAY_KEY, "x-api-key": "upstream"}, {"x-api-key"}),
        (OPEN, {"x-portkey-api-key": "any", "Authorization": "Bearer upstream"}, {"Authorization"}),
        (OPEN, {"Authorization": "Bearer OPENAI_API_KEY"}, set()),
    ],
)
def test_no_key_of_the_gateway_is_passed_on(callers: Callers, pairs: dict[str, str], passed_on: set[str]) -> None:
    sent = CIMultiDict({**pairs, "Accept": "x", "X-Portkey-Trace-Id": "t"})
    kept = strip_credentials(sent, callers.authenticate(sent, "127.0.0.1"))
    assert set(kept) == passed_on | {"Accept", "X-Portkey-Trace-Id"}


def test_repeated_headers_survive() -> None:
    sent = CIMultiDict([("Cookie", "a"), ("Cookie", "b"), ("x-portkey-api-key", "k")])
    assert strip_credentials(sent, CALLER).getall("cookie") == ["a", "b"]


W3C = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("sent", "trace_id"),
    [
        ({"traceparent": f"00-{W3C}-00f067aa0ba902b7-01"}, W3C),
        ({"traceparent": f"01-{W3C}-00f067aa0ba902b7-01-more"}, W3C),
        ({"traceparent": f"00-{W3C}-00f067aa0ba902b7-01", "x-portkey-trace-id": "mine"}, "mine"),
    ],
)
def test_the_trace_of_a_w3c_parent_is_the_callers(sent: dict[str, str], trace_id: str) -> None:
    assert read(CIMultiDict(sent)).trace_id == trace_id


@pytest.mark.parametrize(
    "sent", ["", "x", f"ff-{W3C}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{W3C.upper()}-0-01"]
)
def test_a_parent_that_is_none_gives_a_new_trace(sent: str) -> None:
    assert uuid.UUID(read(CIMultiDict({"traceparent": sent})).trace_id).version == 4
