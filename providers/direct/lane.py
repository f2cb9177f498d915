"""The direct way of every provider: OpenAI's lines out, OpenAI's rows in, and whoever makes the calls in between.

Nothing here is of one provider: what differs is in `ways.py` for those with a lane of batches, and in `litellm.json`
for those that litellm alone knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from proxy_plugin.providers.base import (
    BatchProvider,
    Capabilities,
    Credentials,
    InputMode,
    LineIn,
    LineRejected,
    Native,
    Row,
    Target,
)
from proxy_plugin.providers.direct import litellm_providers, one_answer, streams, ways
from proxy_plugin.providers.direct.ways import OWN_CLIENT, Way
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.openai.carried import require_one_answer
from proxy_plugin.providers.formats.openai.through_chat import CHAT, ENDPOINTS, RESPONSES
from proxy_plugin.providers.formats.rows import read_row, tokens_of
from proxy_plugin.providers.formats.shapes import Answer, Translated
from proxy_plugin.providers.keys import key_of
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible
from proxy_plugin.providers.lanes.openai.rows import request_line, result_row
from proxy_plugin.providers.signing.azure_accounts import EntraCredentials

if TYPE_CHECKING:  # workers only translate and read rows
    from proxy_plugin.providers.direct.base import Caller, Outgoing

TOLD = "Ordinary calls, one a line, at full price: a crash of the gateway repeats at most those in flight."
DROP = "drop_params"  # a switch of litellm's, which a line brings to it only as the route has it
LITELLMS = frozenset({DROP, "metadata", "store"})  # of bodies: litellm would take them for its own, or pass no one on
_WITH_USAGE = b'{"include_usage":true}'  # a Response always ends with it
_TEXT_OF_VECTORS = "base64"


class Direct:
    """The direct lane of one provider. `native` is its lane of batches, where it has one."""

    def __init__(
        self, capabilities: Capabilities, credentials: type[Credentials], way: Way, native: BatchProvider | None = None
    ) -> None:
        self.capabilities, self.credentials = capabilities, credentials
        self.way, self._native = way, native
        service = native.service if isinstance(native, OpenAICompatible) else None
        self._service, self.by_litellm = service, bool(way.litellm)
        self.numbers_only = self.by_litellm or way.own_lines
        self._stripped = (service.stripped if service else frozenset()) | (LITELLMS if way.litellm else frozenset())

    def account_key(self, credentials: Credentials) -> str:
        """Return what the native lane does, or all that an account is told."""
        if self._native is not None:
            return self._native.account_key(credentials)
        told = litellm_providers.parameters(credentials)
        return "\x1f".join(f"{name}={told[name]}" for name in sorted(told))

    def translate(self, line: LineIn, target: Target) -> Native:
        """Return the line of OpenAI's batch document; only a target's model changes the body, and what has no sense."""
        if line.endpoint not in self.capabilities.endpoints:
            message = f"{self.capabilities.title} has no calls of {line.endpoint}."
            raise LineRejected(message, code="unsupported_endpoint", param="url")
        if self.way.own_lines:
            return self._as_its_own(line, target)
        if not self.by_litellm:
            if self._service is not None and self._service.one_answer:
                require_one_answer(line.body, self._service.title)
            return request_line(line, target, line.endpoint, self._stripped)
        one_answer.check(self.way.litellm, line.endpoint, line.body, self.capabilities.title)
        line, dropped = _as_chat(line, target)
        made = request_line(line, target, line.endpoint, self._stripped)
        made = structs.replace(made, dropped=tuple(dict.fromkeys((*dropped, *made.dropped))))
        if target.drop_params:
            inside = made.data[:-2].rstrip()
            return structs.replace(
                made, data=inside + (b"" if inside.endswith(b"{") else b",") + b'"drop_params":true}}'
            )
        return made

    def row(self, line: bytes, source: str, endpoint: str) -> Row | None:
        """Read one of OpenAI's result rows."""
        if self.way.own_lines:
            assert self._native is not None
            return self._native.row(line, source, endpoint)
        if self.by_litellm and endpoint in ENDPOINTS - {CHAT}:
            return read_row(line, lambda body: through_chat.answer(endpoint, _completion(body)))
        return result_row(line)

    def caller(self, credentials: Credentials, host: str, outgoing: Outgoing) -> Caller:
        """Return who makes the calls of an account at a base URL, as its credentials and its provider have it."""
        refused = next((f"{name}: {why}" for name, why in self.way.refused.items() if getattr(credentials, name)), "")
        if refused or (self.by_litellm and not litellm_providers.installed(self.way.module)):
            from proxy_plugin.providers.direct.unable import Unable  # noqa: PLC0415

            return Unable(refused or f"{litellm_providers.MISSING}.")
        if self.by_litellm:
            from proxy_plugin.providers.direct.litellm_caller import LitellmCaller  # noqa: PLC0415

            return LitellmCaller(self.way.litellm, self._parameters(credentials), outgoing)
        return self._own_client(credentials, host, outgoing)

    def streamed(self, endpoint: str, body: bytes, options: bytes | None) -> bytes:
        """Return a translated body that asks for a stream. Bodies of a lane's own have no options of one."""
        if self.by_litellm and endpoint == RESPONSES:
            options = _WITH_USAGE
        more = b'"stream":true' + (b"" if options is None or self.way.own_lines else b',"stream_options":' + options)
        inside = body.rstrip()[:-1].rstrip()
        return inside + (b"" if inside.endswith(b"{") else b",") + more + b"}"

    def events(self, endpoint: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the events as they are, or those of chat as the endpoint of the line has them."""
        through_chat = self.by_litellm or self.way.own_lines
        return streams.through_chat(endpoint, pieces) if through_chat else pieces

    def _as_its_own(self, line: LineIn, target: Target) -> Native:
        assert self._native is not None
        made = self._native.translate(line, target)
        if made.partition == _TEXT_OF_VECTORS:
            message = "Vectors as text are not to be had by ordinary calls; leave encoding_format out."
            raise LineRejected(message, code="unsupported_parameter", param="body.encoding_format")
        url = CHAT if line.endpoint in ENDPOINTS else line.endpoint
        head = msgspec.json.encode({"custom_id": line.native_id, "method": "POST", "url": url})
        return structs.replace(made, data=head[:-1] + b',"body":' + pieces(made.data)["body"] + b"}")

    def _parameters(self, credentials: Credentials) -> dict[str, Any]:
        if self._native is None:
            return dict(litellm_providers.parameters(credentials))
        told = {theirs: _clear(getattr(credentials, ours)) for ours, theirs in self.way.names.items()}
        for ours, (theirs, form) in self.way.hosts.items():
            told |= {theirs: form.host(host)} if (host := getattr(credentials, ours)) else {}
        found = {name: value for name, value in told.items() if value}
        headers = self._headers(credentials, self.way.headers)
        return found | ({"extra_headers": headers} if headers else {})

    def _own_client(self, credentials: Credentials, host: str, outgoing: Outgoing) -> Caller:
        # Workers that only translate read this module too, and aiohttp costs each of them 12 MB.
        from proxy_plugin.providers.direct.http_caller import HttpCaller  # noqa: PLC0415
        from proxy_plugin.providers.direct.renewed import Renewed  # noqa: PLC0415

        base = self.way.base.host(host)
        told = self._headers(credentials, self._service.headers if self._service else {})

        def calls(secret: Mapping[str, str]) -> HttpCaller:
            return HttpCaller(base, {**told, **secret}, outgoing, urls=self.way.urls)

        if isinstance(credentials, EntraCredentials):
            return Renewed(credentials, outgoing, calls)
        header = self._service.of(credentials).key_header if self._service else "Authorization"
        bearer = "Bearer " if header.lower() == "authorization" else ""
        return calls({header: f"{bearer}{key_of(credentials)}"})

    def _headers(self, credentials: Credentials, names: Mapping[str, str]) -> dict[str, str]:
        return {name: str(value) for name, of in names.items() if (value := getattr(credentials, of))}


def _as_chat(line: LineIn, target: Target) -> tuple[LineIn, tuple[str, ...]]:
    """Return a line of Responses or Completions as one of chat, and what was left out. Raises LineRejected.

    litellm has a way of its own, which needs one more package and takes its caller's tools for those of its proxy.
    """
    if line.endpoint not in ENDPOINTS - {CHAT}:
        return line, ()
    drop, strict = target.drop_params, target.strict_params
    made = through_chat.translate(line.endpoint, line.body, Translated, drop_params=drop, strict_params=strict)
    return structs.replace(line, endpoint=CHAT, body=made.body), made.dropped


def _completion(body: bytes) -> Answer:
    given = read(body)
    model = given.get("model")
    return Answer(body, tokens_of(given.get("usage")), model if isinstance(model, str) else "")


def _clear(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def of_lane(native: BatchProvider) -> Direct | None:
    """Return the direct way of a provider that has a lane of batches, None where there is none.

    A lane of another package tells its own in an attribute `calls`.
    """
    lane = native.capabilities
    own: Way | None = getattr(native, "calls", OWN_CLIENT if isinstance(native, OpenAICompatible) else None)
    way = ways.WAYS.get(lane.provider, own)
    if way is None:
        return None
    made = Capabilities(
        provider=lane.provider,
        title=lane.title,
        endpoints=(lane.endpoints if way.endpoints is None else way.endpoints) - ways.NOT_CALLS,
        input_mode=InputMode.DIRECT,
        default_host=lane.default_host,
        model_patterns=lane.model_patterns,
        api_base=lane.api_base,
        max_lines=litellm_providers.MAX_LINES,
        priced_as=lane.priced_as,
        billing_codes=lane.billing_codes,
        wrong_key=lane.wrong_key,
        caveats=(TOLD, *((litellm_providers.THROUGH_CHAT, litellm_providers.INSTALL) if way.litellm else ())),
    )
    return Direct(made, native.credentials, way, native)


@cache
def of_litellm(name: str) -> Direct:
    """Return the lane of a provider that only litellm knows. Raises KeyError."""
    told = [ways.WITHOUT_BATCHES[name]] if name in ways.WITHOUT_BATCHES else []
    made = litellm_providers.capabilities_of(name, *told)
    return Direct(made, litellm_providers.credentials_of(name), Way(litellm=name))
