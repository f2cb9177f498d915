"""What else of a request for a batch may say where it runs: each such word acts as a header of ours, or is refused.

Portkey's SDKs send `portkey_options`, a map of headers, in the body of a create, and `model` and `provider_options` for
some providers (docs of Batches, create body, 2026-08-21); LiteLLM's clients have words of their own. One that is passed
over sends lines to another account than was meant, so none is: what acts here acts as its header does, what we do not
serve is a 400 that names it. Names that steer nothing (`job_name`, tracing, caching) are passed over, as Portkey does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from multidict import CIMultiDict, MultiMapping
from pydantic import ValidationError

from proxy_plugin.access import headers, litellm_words
from proxy_plugin.access.callers import API_KEY
from proxy_plugin.access.headers import CONFIG, CUSTOM_HOST, METADATA, PREFIX, PROVIDER, VIRTUAL_KEY, RequestHeaders
from proxy_plugin.config import VirtualKey
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.masking import secrets_in
from proxy_plugin.routing import words

_UNSAID = litellm_words.Words()
_NOTHING: MultiMapping[str] = CIMultiDict()
OPTIONS, PROVIDER_OPTIONS, MODEL, ROLE = "portkey_options", "provider_options", "model", "role_arn"
_CREDENTIALS = {  # what fields of a create are called among credentials
    ROLE: f"{PREFIX}aws-batch-role-arn",
    "output_data_config": f"{PREFIX}output-data-config",
}
_FIELDS = {header: name for name, header in _CREDENTIALS.items()}
MODEL_HEADERS = (f"{PREFIX}provider-model", f"{PREFIX}aws-bedrock-model", litellm_words.MODEL_HEADER)
ENDPOINT_HEADER = f"{PREFIX}provider-batch-endpoint"
_SERVED = {API_KEY, CONFIG, CUSTOM_HOST, METADATA, PROVIDER, VIRTUAL_KEY, headers.TRACE_ID, headers.TIMEOUT}
_SERVED |= {f"{PREFIX}forward-headers", ENDPOINT_HEADER, *MODEL_HEADERS, litellm_words.PROVIDER_HEADER}
_ONE_VALUE = {METADATA, f"{PREFIX}forward-headers"}
_PASSED_OVER = {  # steer nothing: section 2 of Portkey's surface, 2026-11-21
    *("sensitive-headers", "model-type", "provider-file-name", "aws-s3-object-key"),
    *("default-input-guardrails", "default-output-guardrails"),
}
_ACTING = {OPTIONS, PROVIDER_OPTIONS, MODEL, *_CREDENTIALS}
_ACTING |= {litellm_words.PROVIDER, litellm_words.TARGETS}
_ACTING |= {"instance_config"}  # of Vertex jobs: what their rows look like, which steers nothing
MAX_FIELDS = 256  # of a request, with those of the objects that hold headers
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_WAYS = (
    f"Where a batch runs is said by '{PROVIDER}: @slug', '{VIRTUAL_KEY}' or '{CONFIG}', as headers or in '{OPTIONS}', "
    "or by the model of each line."
)


class Steered(NamedTuple):
    """`sent` are the headers with `portkey_options` among them, `model` is for all lines, `None` for their own.

    `provider` is that of LiteLLM's words, which choose an account.
    """

    headers: RequestHeaders
    sent: MultiMapping[str]
    model: str | None = None
    provider: str | None = None
    options: Mapping[str, str] = {}  # the headers of `sent` that stood in the body -> what they are called there

    def where(self, param: str | None) -> str | None:
        """Return what the caller calls a field at fault."""
        return param if param is None else self.options.get(param, param)


def asked(
    known: RequestHeaders,
    sent: MultiMapping[str],
    body: Mapping[str, Any],
    query: MultiMapping[str] = _NOTHING,
    *,
    file: litellm_words.Words = _UNSAID,
    retry: bool = False,
) -> Steered:
    """Return what a request for a batch asks for. `known` is what was read of the headers `sent`.

    `file` is what was said with the upload of its file.

    Raises BadRequest for each word that steers and is not served, and for two that contradict each other. A retry takes
    no model: its lines have theirs.
    """
    nested = _mapping(body, PROVIDER_OPTIONS)
    _check_count(body, nested, _mapping(body, OPTIONS))
    for name in (*_steering(body, ""), *_steering(nested, f"{PROVIDER_OPTIONS}.")):
        raise unknown(name)
    for name in query:
        if words.steers(name) and name not in litellm_words.FIELDS:
            raise unknown(name)
    options, own = _options(body, sent), _credentials(body, nested)
    called = {header: f"{OPTIONS}.{header}" for header in options} | {header: _FIELDS[header] for header in own}
    options |= own
    merged = _merged(known, sent, options)
    _check_endpoint(body.get("endpoint"), merged.get(ENDPOINT_HEADER))
    read = known if merged is sent else _read(known, merged, options)
    model = _model(read, body, nested, query, merged, file)
    if retry and model is not None:
        raise BadRequest(f"'{MODEL}' does not go with a retry: its lines keep their models.", param=MODEL)
    provider = litellm_words.provider_in(body, query, merged, file.provider)
    return Steered(read, merged, model, provider, called)


def _check_count(*given: Mapping[str, Any]) -> None:
    """Raise BadRequest for more names than can be looked at: 90,000, which a body has room for, took 0.6 s."""
    if sum(map(len, given)) > MAX_FIELDS:
        message = (
            f"A create may have at most {MAX_FIELDS} fields, those of '{OPTIONS}' and '{PROVIDER_OPTIONS}' included."
        )
        raise BadRequest(message, code="unknown_parameter")


def unknown(name: str) -> BadRequest:
    """Return the refusal of a word that steers and is not served. Names are repeated, values never."""
    if not _NAME.fullmatch(name):
        return BadRequest(f"Unknown parameter. {_WAYS}", code="unknown_parameter")
    return BadRequest(f"Unknown parameter: '{name}'. {_WAYS}", param=name, code="unknown_parameter")


def check_headers(sent: MultiMapping[str], lent: Iterable[VirtualKey], brought: Iterable[VirtualKey] = ()) -> None:
    """Raise BadRequest for a header of Portkey's or LiteLLM's that steers and would not be followed.

    `lent` are the accounts of the gateway that the request may run on, `brought` those of the caller's own keys. What
    a header says of one that is lent has to be true of it: its own region, bucket or role are used, whatever is sent.
    """
    fields = {_header(field) for key in brought for field in type(key.credentials).model_fields}
    for key in lent:
        for field in type(key.credentials).model_fields:
            fields.add(_header(field))
            _check_field(sent, key, field)
    for name in map(str.lower, sent):
        rest = name.removeprefix(PREFIX)
        if rest == name or name in _SERVED or name in fields or rest in _PASSED_OVER or words.of_an_account(rest):
            continue  # SDKs send the fields of all accounts they know; those of the one that runs are checked above
        if words.steers(name):
            raise unknown(_FIELDS.get(name, name))


def places(sent: MultiMapping[str], key: VirtualKey) -> dict[str, str]:
    """Return what a request says of places that a virtual key leaves open, by field. Raises BadRequest."""
    own = key.credentials
    fields = [name for name in type(own).model_fields if own.is_open(name) and sent.get(_header(name), "").strip()]
    said = {name: sent[_header(name)].strip() for name in fields}
    try:
        own.placed(said)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        at = _header(str(fault["loc"][0]) if fault["loc"] else fields[-1])
        raise BadRequest(f"{at}: {fault['msg'].removeprefix('Value error, ')}.", param=at) from None
    return said


def check_said(said: Mapping[str, str], key: VirtualKey) -> None:
    """Raise BadRequest for what a target of a config says of the account of another and is not so."""
    for field in type(key.credentials).model_fields:
        if field in said:
            _check_true(f"{CONFIG}: {field}", CONFIG, said[field], key, field)


def _check_field(sent: MultiMapping[str], key: VirtualKey, field: str) -> None:
    name = _header(field)
    if name not in _SERVED and name in sent and not key.credentials.is_open(field):
        _check_true(name, name, sent[name].strip(), key, field)


def _check_true(name: str, param: str, text: str, key: VirtualKey, field: str) -> None:
    held = getattr(key.credentials, field)
    if any(True for _ in secrets_in(held, field)) or not key.credentials.says(field, text):
        about = f"the virtual key {key.slug} has its own. Leave it out"
        if held is None:
            about = f"the virtual key {key.slug} has none. Its operator sets {field} there"
        raise BadRequest(f"{name} goes only with a provider key of your own; {about}.", param=param)


def _header(field: str) -> str:
    return PREFIX + field.replace("_", "-")


def _steering(told: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the names of fields that steer, say something and are not read here."""
    read_here = _ACTING - {OPTIONS, PROVIDER_OPTIONS} if path else _ACTING
    for name, value in told.items():
        says_nothing = value is None or value in ({}, [], "")
        if not says_nothing and name not in read_here and (words.steers(name) or words.of_an_account(name)):
            yield path + name


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest(f"Invalid type for '{name}': expected an object.", param=name, code="invalid_type")
    return found


def _options(body: Mapping[str, Any], sent: MultiMapping[str]) -> dict[str, str]:
    """Return `portkey_options` as headers, names in lower case."""
    found: dict[str, str] = {}
    for name, value in _mapping(body, OPTIONS).items():
        header, param = name.lower(), f"{OPTIONS}.{name}" if _NAME.fullmatch(name) else OPTIONS
        if value in (None, "") or (header == PROVIDER and value == headers.MANAGED):
            continue
        if not header.startswith(PREFIX):
            raise BadRequest(f"'{OPTIONS}' holds headers by their names, {PREFIX}...; '{param}' is none.", param=param)
        if header in found:
            raise BadRequest(f"'{param}' is given twice.", param=param)
        text = value if isinstance(value, str) else json.dumps(value)
        if header == API_KEY and text != sent.get(API_KEY):
            raise BadRequest(f"'{param}' names the caller; send it as a header.", param=param)
        found[header] = text
    return found


def _credentials(body: Mapping[str, Any], nested: Mapping[str, Any]) -> dict[str, str]:
    """Return fields of a create that belong to the account as the headers of their names; an object as JSON."""
    found: dict[str, str] = {}
    for name, header in _CREDENTIALS.items():
        value = body.get(name) or nested.get(name) or ""
        if not isinstance(value, str) and (name == ROLE or not isinstance(value, dict)):
            taken = "a string" if name == ROLE else "an object, or an address as a string"
            raise BadRequest(f"Invalid type for '{name}': expected {taken}.", param=name, code="invalid_type")
        text = value if isinstance(value, str) else json.dumps(value)
        found |= {header: text} if text else {}
    return found


def _merged(known: RequestHeaders, sent: MultiMapping[str], options: Mapping[str, str]) -> MultiMapping[str]:
    """Return the headers with the options among them. Raises BadRequest where the two contradict each other."""
    if not options:
        return sent
    chosen = headers.read(CIMultiDict(options)).target
    if any(chosen) and any(known.target) and chosen != known.target:
        raise BadRequest(
            f"'{OPTIONS}' and the headers of the request say different things of where the batch runs; say it once.",
            param=OPTIONS,
        )
    for name, text in options.items():
        if name in (METADATA, f"{PREFIX}forward-headers") and sent.get(name, text) != text:
            raise BadRequest(
                f"'{OPTIONS}' and the headers of the request differ in {name}; send it once.", param=OPTIONS
            )
    merged = CIMultiDict(sent.items())
    merged.update(options)
    return merged


def _read(known: RequestHeaders, merged: MultiMapping[str], options: Mapping[str, str]) -> RequestHeaders:
    read = headers.read(merged)
    return read if headers.TRACE_ID in options else read.of_trace(known.trace_id)


def _check_endpoint(endpoint: object, header: str | None) -> None:
    if header is not None and isinstance(endpoint, str) and header.strip() != endpoint:
        raise BadRequest(
            f"{ENDPOINT_HEADER} is another endpoint than 'endpoint'; make them equal.", param=ENDPOINT_HEADER
        )


def _model(
    read: RequestHeaders,
    body: Mapping[str, Any],
    nested: Mapping[str, Any],
    query: MultiMapping[str],
    sent: MultiMapping[str],
    file: litellm_words.Words,
) -> str | None:
    """Return the model for all lines. Raises BadRequest for two, for one beside a config, for another account's."""
    found = [(MODEL, body.get(MODEL)), (f"{PROVIDER_OPTIONS}.{MODEL}", nested.get(MODEL))]
    found += [(name, value) for name in MODEL_HEADERS for value in sent.getall(name, [])]
    found += [(MODEL, value) for value in query.getall(MODEL, [])]
    told = list(litellm_words.texts(found))
    told += litellm_words.targets_in(body, query)
    told += [("input_file_id", file.models)] if file.models else []
    models = litellm_words.common(told)
    if not models:
        return None
    if len(models) > 1:
        message = f"'{told[0][0]}' names {len(models)} models, and a batch runs as one; name it as '{MODEL}'."
        raise BadRequest(message, param=told[0][0])
    path, model = told[0][0], models[0]
    if read.config is not None:
        raise BadRequest(f"'{path}' does not go with {CONFIG}; write 'override_params.model' there.", param=path)
    slug = headers.slug_in(model)
    if slug is not None and (read.provider is not None or read.slug not in (None, slug)):
        raise BadRequest(f"'{path}' names another account than the headers do; name one.", param=path)
    return model
