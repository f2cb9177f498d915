"""Histograms count as Prometheus expects, and spans carry the caller's trace."""

from __future__ import annotations

import re
import sys
import uuid
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.ground.observing import traces
from proxy_plugin.ground.observing.figures import FIGURES, PREFIX, STEPS, family, histogram
from proxy_plugin.ground.observing.timings import Histogram, Timings
from proxy_plugin.providers.errors import TryLater

HEX = "4bf92f3577b34da6a3ce929d0e0e4736"


@given(st.lists(st.floats(0, 4_000, allow_nan=False)))
def test_a_bucket_holds_what_is_not_above_its_bound(seconds: list[float]) -> None:
    timed = Histogram("step_duration_seconds")
    for each in seconds:
        timed.observe(each, "poll", "done")
    pieces = timed.pieces()
    buckets = {labels["le"]: value for labels, value in pieces["bucket"]}
    assert buckets == (
        {f"{bound:g}": sum(each <= bound for each in seconds) for bound in STEPS} | {"+Inf": len(seconds)}
        if seconds
        else {}
    )
    assert all(a <= b for a, b in pairwise(buckets.values()))
    assert [value for _, value in pieces["count"]] == ([len(seconds)] if seconds else [])
    assert sum(value for _, value in pieces["sum"]) == pytest.approx(sum(seconds))


def test_a_histogram_is_one_family_with_three_pieces() -> None:
    timed = Histogram("provider_step_duration_seconds")
    timed.observe(0.2, 'a"key')
    lines = histogram("provider_step_duration_seconds", timed.pieces()).splitlines()
    assert sum(line.startswith("# TYPE") for line in lines) == 1
    assert 'proxy_plugin_provider_step_duration_seconds_bucket{virtual_key="a\\"key",le="+Inf"} 1' in lines
    assert 'proxy_plugin_provider_step_duration_seconds_sum{virtual_key="a\\"key"} 0.2' in lines
    assert lines[-1] == 'proxy_plugin_provider_step_duration_seconds_count{virtual_key="a\\"key"} 1'


def test_names_are_prometheus_own_and_stand_once() -> None:
    names = [each.name for each in FIGURES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", f"{PREFIX}{name}") for name in names)
    assert all(each.name.endswith("_total") == (each.kind == "counter") for each in FIGURES)
    assert family("ready", [({}, 1)]).endswith("proxy_plugin_ready 1\n")


@pytest.mark.parametrize(("error", "outcome"), [(None, "done"), (TryLater("x"), "later"), (OSError(), "failed")])
def test_a_step_is_counted_by_how_it_ended(error: Exception | None, outcome: str) -> None:
    timings = Timings()
    with suppress(TryLater, OSError), timings.step("poll", (TryLater,), "lane"):
        if error is not None:
            raise error
    assert timings.steps.pieces()["count"] == [({"step": "poll", "outcome": outcome}, 1)]
    assert timings.provider_steps.pieces()["count"] == [({"virtual_key": "lane"}, 1)]


def test_a_trace_id_of_128_bits_stays_as_it_is() -> None:
    assert traces.number(HEX) == int(HEX, 16)
    assert traces.number(str(uuid.UUID(HEX)).upper()) == int(HEX, 16)


@given(st.text())
def test_any_other_becomes_one_always_the_same(text: str) -> None:
    assert 0 < traces.number(text) < 2**128
    assert traces.number(text) == traces.number(text)


NAMED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        NAMED | {"OTEL_SDK_DISABLED": "true"},
        NAMED | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_sent(environ: dict[str, str]) -> None:
    assert traces.begin(environ) is None
    with traces.span("step poll") as sent:
        assert type(sent) is traces.OpenSpan


def test_another_protocol_is_not_guessed_at() -> None:
    assert traces.begin(NAMED | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == traces.ONLY_HTTP


def test_where_the_sdk_is_missing_it_is_said_and_the_collectors_key_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=x"}
    assert "proxy-plugin[otel]" in (traces.begin(environ) or "")
    assert set(environ) == {"OTEL_EXPORTER_OTLP_ENDPOINT"}
