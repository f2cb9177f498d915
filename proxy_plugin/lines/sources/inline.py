"""Take the body of an inline create apart: its requests become the lines of a file (worker process).

Bodies stay byte for byte as they were sent, but for line breaks between their tokens, which become spaces: a line has
none. What is wrong with a request is told in the sentences of a line's fault, under the path of the request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from proxy_plugin.ground import sentences
from proxy_plugin.ground.durable import FileFacts, HashedFile
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.surrogates import marked, unmarked
from proxy_plugin.ground.unparsed import NO_OBJECT, unreadable
from proxy_plugin.lines.envelope import OTHER_URL, Envelope, EnvelopeFault, decode_envelope, value_of
from proxy_plugin.routing.endpoints import WRAPPED

REQUESTS = "requests"
_POST = b'"POST"'
_NO_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_URLS_TOLD = 16


class Others(msgspec.Struct, frozen=True):
    """The members of a create beside its requests, as a JSON object, and whether it has requests.

    `problem`: why the body is no JSON object, as it is told; the rest says nothing then.
    """

    text: bytes = b"{}"
    has_requests: bool = False
    problem: str | None = None


class InlineJob(msgspec.Struct, frozen=True):
    """`source` is the create's body, `path` the file to be written.

    `url` is that of requests which name none, `native` those of shapes of their own, by the members that hold them;
    `urls` are those that the lines may have, `known` those that the lanes run; `model` is that of bodies which name
    none. None: not known, or any.
    """

    source: str
    path: str
    url: str | None
    urls: tuple[str, ...] | None
    native: dict[str, str]
    max_line_bytes: int
    max_lines: int
    model: str | None = None
    known: tuple[str, ...] = ()


class Written(msgspec.Struct, frozen=True):
    """The file, and the first few of the different urls of its lines."""

    file: FileFacts
    urls: tuple[str, ...]


class Wrong(msgspec.Struct, frozen=True):
    """The first thing that is wrong with the requests."""

    code: str
    message: str
    param: str


class _Request(msgspec.Struct):
    custom_id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    request: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    batch_request_id: Raw | UnsetType = UNSET
    batch_request: Raw | UnsetType = UNSET
    record_id: Raw | UnsetType = msgspec.field(default=UNSET, name="recordId")
    model_id: Raw | UnsetType = msgspec.field(default=UNSET, name="modelId")
    model_input: Raw | UnsetType = msgspec.field(default=UNSET, name="modelInput")

    @property
    def own(self) -> str | None:
        """The member that holds a body in a lane's own way."""
        return next((name for name, value in self.bodies.items() if name != "body" and value is not UNSET), None)

    @property
    def bodies(self) -> dict[str, Raw | UnsetType]:
        """What may hold the body, by the names of the members."""
        return {
            "body": self.body,
            "params": self.params,
            "request": self.request,
            "modelInput": self.model_input,
            "batch_request": self.batch_request,
        }


_members = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_request = msgspec.json.Decoder(_Request).decode


def others(source: str) -> Others:
    """Read what a create says beside its requests. Raises OSError."""
    body = Path(source).read_bytes()
    try:
        members = _members(marked(body))
        body.decode()  # msgspec does not look into what it steps over
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Others(problem=_problem(body))
    requests = members.pop(REQUESTS, None)
    texts = (json.dumps(name).encode() + b":" + unmarked(bytes(value)) for name, value in members.items())
    return Others(b"{" + b",".join(texts) + b"}", requests is not None and bytes(requests) != b"null")


def _problem(body: bytes) -> str:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return unreadable(body, error)
    return unreadable(body, None) if isinstance(value, dict) else NO_OBJECT


def write(job: InlineJob) -> Written | Wrong:
    """Write the requests of a create that `others` has read as lines, durably into one file; an older one is replaced.

    Raises OSError.
    """
    Path(job.path).unlink(missing_ok=True)  # of a worker that died
    text = bytes(_members(marked(Path(job.source).read_bytes()))[REQUESTS])
    try:
        with HashedFile(Path(job.path)) as file:
            urls = _write_all(job, _elements(job, text), file)
            facts = file.finish()
    except EnvelopeFault as fault:
        return Wrong(fault.code, fault.message, fault.param or REQUESTS)
    passing("inline.written")
    return Written(facts, urls)


def _elements(job: InlineJob, text: bytes) -> list[Raw]:
    if not text.startswith(b"["):
        raise EnvelopeFault(*sentences.wrong_type(REQUESTS, "an array of objects", value_of(text)))
    found = _list(text)
    if not found:
        raise EnvelopeFault(*sentences.empty_array(REQUESTS))
    if len(found) > job.max_lines:
        message = f"There are more than {job.max_lines} requests, the limit for one batch; split them into several."
        raise EnvelopeFault("too_many_tasks", message, REQUESTS)
    return found


def _write_all(job: InlineJob, requests: Sequence[Raw], file: HashedFile) -> tuple[str, ...]:
    ids, urls = dict[str, int](), dict[str, None]()
    for n, request in enumerate(requests):
        line, envelope = _line(job, n, bytes(request))
        first = ids.setdefault(envelope.custom_id, n)
        if first != n:
            raise _repeated(n, first)
        if len(urls) < _URLS_TOLD:
            urls[envelope.url] = None
        file.write_line(line, b"\n")
        passing("inline.line")
    return tuple(urls)


def _line(job: InlineJob, n: int, request: bytes) -> tuple[bytes, Envelope]:
    path = f"{REQUESTS}[{n}]"
    if not request.startswith(b"{"):
        raise EnvelopeFault(*sentences.wrong_type(path, sentences.OBJECT, value_of(request)))
    found = _request(request)
    own = found.own
    if own is not None and found.body is not UNSET:
        message = f"'{path}' has 'body' and '{own}'; send one: '{own}' is a request in the lane's own shape."
        raise EnvelopeFault("invalid_value", message, f"{path}.{own}")
    if own == "batch_request":
        found, own = _unwrapped(n, found)
    line = unmarked(_composed(job, n, found)).translate(_NO_LINE_BREAKS)
    if len(line) > job.max_line_bytes:
        message = f"'{path}' is longer than the limit of {job.max_line_bytes} bytes; shorten or split the request."
        raise EnvelopeFault("line_too_long", message, path)
    try:
        envelope = decode_envelope(line)
    except EnvelopeFault as fault:
        raise _said(fault, path, own or "body") from None
    if job.urls is not None and envelope.url not in job.urls:
        raise EnvelopeFault("invalid_url", OTHER_URL, f"{path}.{own or 'url'}")
    return line, envelope


def _unwrapped(n: int, request: _Request) -> tuple[_Request, str]:
    """Return a request of `{"batch_request_id", "batch_request"}` as OpenAI has it, and where its body was."""
    path, text = f"{REQUESTS}[{n}].batch_request", bytes(request.bodies["batch_request"] or b"")
    inside = _members(text) if text.startswith(b"{") else {}
    name = next(iter(inside), None)
    if len(inside) != 1 or name not in WRAPPED:
        raise EnvelopeFault(*sentences.wrong_value(path, name, tuple(WRAPPED)))
    found = msgspec.structs.replace(
        request,
        custom_id=_numbered(n) if request.batch_request_id is UNSET else request.batch_request_id,
        url=Raw(msgspec.json.encode(WRAPPED[name])),
        body=inside[name],
        batch_request=UNSET,
    )
    return found, f"batch_request.{name}"


def _numbered(n: int) -> Raw:
    """Return the custom_id of a request that need not have one."""
    return Raw(msgspec.json.encode(f"request-{n}"))


def _composed(job: InlineJob, n: int, request: _Request) -> bytes:
    """Return the line of a request, whatever it holds: what is wrong with that is found when it is read."""
    own = request.own
    members = {
        "custom_id": request.custom_id if request.custom_id is not UNSET else _key(n, request),
        "method": Raw(_POST) if request.method is UNSET else request.method,
        "url": request.url if request.url is not UNSET else _url(job, f"{REQUESTS}[{n}]", own),
        "body": _with_model(request.bodies[own or "body"], _model(job, request)),
    }
    texts = (f'"{name}":'.encode() + bytes(value) for name, value in members.items() if value is not UNSET)
    return b"{" + b",".join(texts) + b"}"


def _key(n: int, request: _Request) -> Raw | UnsetType:
    """Return what a request of `{"key", "request"}` or `{"recordId", "modelInput"}` is called: it need not say so."""
    if request.model_input is not UNSET:
        return _numbered(n) if request.record_id is UNSET else request.record_id
    if request.request is UNSET:
        return UNSET
    inside = request.metadata if request.metadata is not UNSET else Raw(b"{}")
    told = _members(inside).get("key") if bytes(inside).startswith(b"{") else None
    named = request.key if request.key is not UNSET else told
    return _numbered(n) if named is None else named


def _model(job: InlineJob, request: _Request) -> Raw | UnsetType:
    """Return the model that stands beside a body in a lane's own shape, or that the create names for all of them."""
    if request.model_id is not UNSET and request.model_input is not UNSET:
        return request.model_id
    return UNSET if job.model is None else Raw(msgspec.json.encode(job.model))


def _with_model(body: Raw | UnsetType, model: Raw | UnsetType) -> Raw | UnsetType:
    """Return a body with this model where it has none of its own."""
    if body is UNSET or model is UNSET or not bytes(body).startswith(b"{") or "model" in _members(body):
        return body
    inside = bytes(body)[1:].lstrip()
    comma = b"" if inside.startswith(b"}") else b","
    return Raw(b'{"model":' + bytes(model) + comma + inside)


def _url(job: InlineJob, path: str, own: str | None) -> Raw:
    url = job.url if own is None else job.native.get(own)
    if url is not None:
        return Raw(msgspec.json.encode(url))
    if own is not None:
        message = (
            f"'{path}' has '{own}', a shape that none of the accounts of this batch has as its own. "
            "Send 'body' in OpenAI's shape, or 'url' with it."
        )
        raise EnvelopeFault("unsupported_endpoint", message, f"{path}.{own}")
    said = sentences.missing(f"{path}.url")
    remedy = "A request is {custom_id, url, body}. Send 'url' with it, or 'endpoint' with the create, as one of:"
    raise EnvelopeFault(said.code, f"{said.message} {remedy} {', '.join(map(repr, job.known))}.", said.param)


def _repeated(n: int, first: int) -> EnvelopeFault:
    message = (
        "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique for "
        f"each request in a batch; {REQUESTS}[{first}] has it first."
    )
    return EnvelopeFault("duplicate_custom_id", message, f"{REQUESTS}[{n}].custom_id")


def _said(fault: EnvelopeFault, path: str, body: str) -> EnvelopeFault:
    """Return a line's fault as one of a request: the parameter that it quotes gets its path."""
    if fault.param is None:
        return EnvelopeFault(fault.code, f"'{path}': {fault.message}", path)
    param = f"{path}.{fault.param.replace('body', body, 1)}"
    return EnvelopeFault(fault.code, fault.message.replace(f"'{fault.param}'", f"'{param}'"), param)
