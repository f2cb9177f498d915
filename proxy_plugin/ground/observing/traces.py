"""Spans for OpenTelemetry, where the environment names a collector; without one, and without the SDK, nothing is done.

The variables are OpenTelemetry's own ("OpenTelemetry Environment Variable Specification" and "OTLP Exporter
Configuration", opentelemetry.io/docs/specs/otel/): OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
turns spans on, and the SDK reads the others, such as the sampler and the resource. They travel as OTLP over HTTP.

A span has the trace id of the request that created the batch, whichever process runs the step and however much later:
that of `traceparent` or `x-portkey-trace-id` as it is where it has 128 bits, else the first 128 of its SHA-256. A span
has no parent, as the caller's may have ended days ago. It carries ids and names of ours, never content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from proxy_plugin import __version__
from proxy_plugin.ground.logs import TRACE_ID

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SECRETS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
ONLY_HTTP = "the environment asks for OTLP over gRPC, and spans are sent over HTTP alone"
MISSING = "the environment names an OTLP endpoint, but spans need: pip install 'proxy-plugin[otel]'"
_HEX = re.compile(r"[0-9a-f]{32}")
_wanted: ContextVar[int | None] = ContextVar("wanted_trace", default=None)


class OpenSpan:
    """A span that is sent when it ends; this one is sent nowhere."""

    def ended(self, outcome: str, *, failed: bool) -> None:
        """Say how what it stands for has ended."""


class _Real(OpenSpan):
    def __init__(self, of_sdk: Span) -> None:
        self._span = of_sdk

    def ended(self, outcome: str, *, failed: bool) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_attribute("proxy_plugin.outcome", outcome)
        if failed:
            self._span.set_status(StatusCode.ERROR)


_NOWHERE = OpenSpan()
_providers: list[TracerProvider] = []  # the one that is in use, if any


def begin(environ: MutableMapping[str, str]) -> str | None:
    """Send spans from now on if the environment wants it; return what is in the way of that, if anything.

    Headers for the collector may hold a key: they do not stay in the environment, from which workers take theirs.
    """
    if _providers or not any(environ.get(name) for name in ENDPOINTS) or _is_off(environ):
        return None
    if any(environ.get(name) == "grpc" for name in PROTOCOLS):
        return ONLY_HTTP
    try:
        _providers.append(_provider(environ.get("OTEL_SERVICE_NAME") or "proxy-plugin"))
    except ImportError:
        return MISSING
    finally:
        for name in SECRETS:
            environ.pop(name, None)
    return None


def _is_off(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment, which may be another program's, too, says that there are to be no spans."""
    return environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"


def end() -> None:
    """Send what is left, and no more spans. May take some seconds."""
    while _providers:
        _providers.pop().shutdown()


def span(name: str, **about: str) -> AbstractContextManager[OpenSpan]:
    """Open a span of the trace of the request under way. `about` gives attributes: ids and names, never content."""
    return _real(name, about) if _providers else nullcontext(_NOWHERE)


@contextmanager
def _real(name: str, about: dict[str, str]) -> Iterator[OpenSpan]:
    from opentelemetry.context import Context  # noqa: PLC0415

    text = TRACE_ID.get()
    token = _wanted.set(None if text is None else number(text))
    attributes = {f"proxy_plugin.{key}": value for key, value in about.items()}
    attributes |= {} if text is None else {"proxy_plugin.trace_id": text}
    tracer = _providers[0].get_tracer("proxy_plugin", __version__)
    try:
        of_sdk = tracer.start_span(name, context=Context(), attributes=attributes)
    finally:
        _wanted.reset(token)
    try:
        yield _Real(of_sdk)
    finally:
        of_sdk.end()


def number(trace_id: str) -> int:
    """Return a trace id as OpenTelemetry has it, of 128 bits that are not all zero."""
    plain = trace_id.lower().replace("-", "")
    found = int(plain, 16) if _HEX.fullmatch(plain) else 0
    return found or int.from_bytes(hashlib.sha256(trace_id.encode("utf-8", "surrogatepass")).digest()[:16])


def _provider(service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class Ids(RandomIdGenerator):  # type: ignore[misc]
        """Gives a span without a parent the trace that is wanted."""

        def generate_trace_id(self) -> int:
            return int(_wanted.get() or super().generate_trace_id())

    resource = Resource.create({"service.name": service, "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
