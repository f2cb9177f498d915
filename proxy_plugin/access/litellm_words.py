"""LiteLLM's words for where work goes: `custom_llm_provider`, `model`, `target_model_names`, and ids that hold a model.

They stand in the body or the form, in the query, or in a header (litellm 1.110.2, `proxy/openai_files_endpoints`,
`proxy/batches_endpoints`, `proxy/common_utils/openai_endpoint_utils.py`). What two places say has to agree. What is
said with an upload counts for the batches of its file, as the id that LiteLLM gives it does there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from multidict import MultiDict, MultiMapping

from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import CONFIG, VIRTUAL_KEY, RequestHeaders, find_virtual_key, slug_in
from proxy_plugin.config import Config, ModelEntry
from proxy_plugin.config.model_list import ENVIRONMENT, FILES
from proxy_plugin.config.names import entries_of
from proxy_plugin.ground.errors import BadRequest, Forbidden
from proxy_plugin.providers import catalog
from proxy_plugin.routing.route import allowed

PROVIDER, MODEL, TARGETS = "custom_llm_provider", "model", "target_model_names"
PROVIDER_HEADER, MODEL_HEADER = "custom-llm-provider", "x-litellm-model"
FIELDS = (PROVIDER, MODEL, TARGETS)
_LIST = f"{TARGETS}[]"  # of a form, as OpenAI's SDK writes lists there
FORM = (*FIELDS, _LIST)
_WHOLE = {None, ("*",)}  # what the models of an account say that has all of its provider's

Told = list[tuple[str, tuple[str, ...]]]  # (where it is said, the models that it names)


class Words(NamedTuple):
    """What a request says. `provider` is Portkey's name of it; more than one model means any of them."""

    provider: str | None = None
    models: tuple[str, ...] = ()


def read(fields: Mapping[str, object], query: MultiMapping[str], sent: MultiMapping[str]) -> Words:
    """Return what a request says in its body or form, its query and its headers. Raises BadRequest."""
    return Words(provider_in(fields, query, sent), common(list(models_in(fields, query, sent))))


def theirs(path: str, query: MultiMapping[str]) -> MultiMapping[str]:
    """Return of a query what may be LiteLLM's words: of `/batches/{id}/lines` `model` is a filter of its own."""
    if MODEL not in query or not path.endswith("/lines"):
        return query
    return MultiDict((name, value) for name, value in query.items() if name != MODEL)


def says_anything(query: MultiMapping[str], sent: MultiMapping[str]) -> bool:
    """Tell whether there is such a word in a query or in headers."""
    return any(name in query for name in FIELDS) or PROVIDER_HEADER in sent or MODEL_HEADER in sent


def provider_in(
    fields: Mapping[str, object], query: MultiMapping[str], sent: MultiMapping[str], before: str | None = None
) -> str | None:
    """Return the provider that is named; `before` is what an earlier request named. Raises BadRequest."""
    told = [(PROVIDER, fields.get(PROVIDER)), *((PROVIDER, each) for each in query.getall(PROVIDER, []))]
    told += [(PROVIDER_HEADER, each) for each in sent.getall(PROVIDER_HEADER, [])]
    found = [(name, catalog.canonical(_text(name, value))) for name, value in told if value not in (None, "")]
    for name, provider in found:
        if provider not in catalog.names() and provider not in catalog.litellms():
            advice = catalog.advice(provider)
            raise BadRequest(f"'{name}' names no provider that is served.{advice}", param=name)
        if provider != found[0][1]:
            raise BadRequest(f"'{found[0][0]}' and '{name}' name different providers; name one.", param=name)
        if before not in (None, provider):
            raise BadRequest(f"'{name}' is another provider than the file was uploaded for; name one.", param=name)
    return found[0][1] if found else before


def models_in(
    fields: Mapping[str, object], query: MultiMapping[str], sent: MultiMapping[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what each place says of models. Raises BadRequest for what is no text."""
    told = [(MODEL, fields.get(MODEL)), *((MODEL, each) for each in query.getall(MODEL, []))]
    yield from texts([*told, *((MODEL_HEADER, each) for each in sent.getall(MODEL_HEADER, []))])
    yield from targets_in(fields, query)


def naming(fields: Mapping[str, object], query: MultiMapping[str], sent: MultiMapping[str]) -> str:
    """Return the word by which a request names its model, the first of several. Raises BadRequest."""
    return next((name for name, _ in models_in(fields, query, sent)), MODEL)


def texts(told: Iterable[tuple[str, object]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what is said of one model in each of some places. Raises BadRequest for what is no text."""
    for name, value in told:
        if value not in (None, ""):
            yield name, (_text(name, value),)


def targets_in(fields: Mapping[str, object], query: MultiMapping[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the lists of models that a body or form, and a query, have as `target_model_names`."""
    for value in (fields.get(TARGETS), fields.get(_LIST), *query.getall(TARGETS, [])):
        texts = value if isinstance(value, list) else [value] if value else []
        names = tuple(name.strip() for text in texts for name in _text(TARGETS, text).split(",") if name.strip())
        if names:
            yield TARGETS, names


def common(told: Told) -> tuple[str, ...]:
    """Return the models that all places name. Raises BadRequest where there is none."""
    if not told:
        return ()
    (first, models), *others = told
    for name, named in others:
        kept = tuple(each for each in models if each in named)
        if not kept:
            raise BadRequest(f"'{first}' and '{name}' name different models; name one.", param=name)
        models = kept
    return models


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    return value.strip()


# ---- what they choose ----


def placed(
    asked: RequestHeaders,
    provider: str | None,
    model: str | None,
    config: Config,
    caller: Caller,
    *,
    one: bool = True,
    said: str = MODEL,
) -> tuple[RequestHeaders, str | None]:
    """Return what a create asks for with the account that its words choose, and the model for all lines.

    `said` is the word that names the model.
    Raises BadRequest for what names nothing, or two different things, or several accounts of which `one` is meant;
    Forbidden.
    """
    named = _entries(config, model)
    if provider is None:
        takes_any = caller.default is not None and caller.identity is None  # LiteLLM refuses what it has not
        if model is not None and asked.names_nothing and not takes_any and slug_in(model) is None:
            _require_known(config, caller, model, named, said)
        return asked, model
    _require_at(asked, provider, model, config)
    if not asked.names_nothing or (model is not None and slug_in(model) is not None):
        return asked, model
    if named:
        there = [entry for entry in named if entry.provider == provider]
        if not there:
            raise BadRequest(f"'{MODEL}' is none of the models at '{PROVIDER}'; name one place.", param=PROVIDER)
        if len(there) == len(named):
            return asked, model
        return replace(asked, slug=_usable(config, caller, there).slug), there[0].model
    several = [] if one else accounts(provider, config, caller)
    slug = several[0] if several else account(provider, config, caller)
    return replace(asked, slug=slug), None if model is None else _bare(model, provider)


def one_account(asked: RequestHeaders, words: Words, config: Config, caller: Caller) -> RequestHeaders:
    """Return what a request for one account asks for, such as a file that a provider keeps. Raises like `placed`."""
    if len(words.models) > 1:
        raise BadRequest(f"'{TARGETS}' names several models, and this file goes to one account.", param=TARGETS)
    model = words.models[0] if words.models else None
    asked, model = placed(asked, words.provider, model, config, caller)
    if model is None or not asked.names_nothing:
        return asked
    if (slug := slug_in(model)) is not None:
        return replace(asked, slug=find_virtual_key(slug, caller, config, MODEL).slug)
    return replace(asked, slug=_usable(config, caller, _entries(config, model)).slug)


def check(words: Words, config: Config, caller: Caller, *, one: bool, said: str = MODEL) -> None:
    """Raise BadRequest or Forbidden for words that could choose nothing; no single account where `one` is meant."""
    for model in words.models or (None,):
        if model is not None and (slug := slug_in(model)) is not None:
            find_virtual_key(slug, caller, config, MODEL)
        placed(RequestHeaders(""), words.provider, model, config, caller, one=one, said=said)


def require(
    asked: RequestHeaders, query: MultiMapping[str], sent: MultiMapping[str], config: Config, caller: Caller
) -> None:
    """Raise BadRequest or Forbidden for words of a request without a body of its own that could choose nothing."""
    if says_anything(query, sent):
        words = read({}, query, sent)
        if asked.names_nothing:
            check(words, config, caller, one=False, said=naming({}, query, sent))


def require_agreed(words: Words, providers: Container[str], slugs: Iterable[str], config: Config) -> None:
    """Raise BadRequest where what an id names is at other providers, or other accounts, than words say."""
    if words.provider is not None and words.provider not in providers:
        raise BadRequest(f"What the id names is not at the provider that '{PROVIDER}' names.", param=PROVIDER)
    meant = slugs_of(words, config)
    if meant and not set(meant) & set(slugs):
        raise BadRequest(f"What the id names is not of the account of the '{MODEL}' that is named.", param=MODEL)


def account(
    provider: str, config: Config, caller: Caller, *, where: str = f"'{PROVIDER}'", param: str = PROVIDER
) -> str:
    """Return the caller's one account at a provider, which `where` names. Raises BadRequest for none, or several."""
    slugs = accounts(catalog.canonical(provider), config, caller)
    if len(slugs) == 1:
        return slugs[0]
    if caller.default in slugs:
        return str(caller.default)
    if not slugs:
        raise BadRequest(f"This API key has no account at {provider}, which {where} names.", param=param)
    advice = f"send '{VIRTUAL_KEY}: slug' with one of {', '.join(slugs)}"
    raise BadRequest(f"This API key has several accounts at {provider}: {advice}.", param=param)


def accounts(provider: str, config: Config, caller: Caller) -> list[str]:
    """Return the accounts that a provider's name may mean, the first kind of these that there is.

    That of `files_settings`, virtual keys, that of the environment, entries of the list, those for all models first.
    """
    made = {each.slug for each in config.models}
    found = {
        slug: key
        for slug, key in config.virtual_keys.items()
        if key.provider == provider and not key.retired and caller.allows(slug)
    }
    kinds = (
        [slug for slug in found if slug == FILES + provider],
        [slug for slug in found if slug not in made and not slug.startswith((ENVIRONMENT, FILES))],
        [slug for slug in found if slug == ENVIRONMENT + provider],
        [slug for slug, key in found.items() if key.models in _WHOLE],
    )
    return next((kind for kind in kinds if kind), list(found))


def slugs_of(words: Words, config: Config) -> list[str] | None:
    """Return the accounts of the models that are named; None where none is named, or one that any account may have."""
    if not words.models or not all(slug_in(each) or _entries(config, each) for each in words.models):
        return None
    named = [slug_in(model) or "" for model in words.models]
    return [*filter(None, named), *(e.slug or "" for model in words.models for e in _entries(config, model))]


def _entries(config: Config, model: str | None) -> list[ModelEntry]:
    return [] if model is None else entries_of(config.models, model)


def _usable(config: Config, caller: Caller, entries: list[ModelEntry]) -> ModelEntry:
    """Return the first entry that the caller may use. Raises Forbidden, BadRequest."""
    able = [each for each in entries if each.slug is not None and caller.allows(each.slug)]
    if not able:
        raise Forbidden("This API key may not use the account of this model.", param=MODEL)
    return next((each for each in able if each.slug in config.virtual_keys and not each.closed), able[0])


def _require_known(config: Config, caller: Caller, model: str, entries: list[ModelEntry], said: str) -> None:
    if not entries:
        message = f"This '{said}' is not found in model_list: 'GET /v1/models' lists those that you can reach."
        raise BadRequest(f"{message} '{PROVIDER}' beside it names the provider of any other.", param=said)
    entry = _usable(config, caller, entries)
    names = (model, entry.model, f"@{entry.slug}/{entry.model}")
    if caller.models is not None and not any(allowed(caller.models, name) for name in names):
        raise Forbidden("This API key may not use this model.", param=MODEL)
    if entry.slug is not None and entry.slug not in config.virtual_keys:
        find_virtual_key(entry.slug, caller, config, MODEL)


def _require_at(asked: RequestHeaders, provider: str, model: str | None, config: Config) -> None:
    """Raise BadRequest where headers or the model name another account than one of this provider."""
    if asked.config is not None:
        raise BadRequest(f"'{PROVIDER}' does not go with {CONFIG}, which says where the lines go.", param=PROVIDER)
    for slug in (asked.slug, None if model is None else slug_in(model)):
        key = config.virtual_keys.get(slug or "")
        if key is not None and key.provider != provider:
            raise BadRequest(f"'{PROVIDER}' is not the provider of the virtual key {slug}; name one.", param=PROVIDER)
    if asked.provider is not None and catalog.canonical(asked.provider) != provider:
        raise BadRequest(f"'{PROVIDER}' and x-portkey-provider name different providers; name one.", param=PROVIDER)


def _bare(model: str, provider: str) -> str:
    """Return a model without the name of its provider before it."""
    prefix, slash, rest = model.partition("/")
    return rest if slash and catalog.canonical(prefix) == provider else model


# ---- ids ----

_ENCODED = re.compile(r"litellm:(?P<id>[^;]+);model,(?P<models>[^;]+)")
_FILE = re.compile(
    r"litellm_proxy:.*?;target_model_names,(?P<models>[^;]*).*?;llm_output_file_id,(?P<id>[^;,]+).*", re.S
)
_BATCH = re.compile(r"litellm_proxy;model_id:(?P<models>[^;]*);llm_batch_id:(?P<id>[^;,]+).*", re.DOTALL)
_LONGEST = 2048  # characters of an id


def opened(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the id and the models that an id of LiteLLM's holds; any other text as it is, and none.

    `file-` and `batch_` with Base64 of `litellm:ID;model,NAME`, or Base64 of a managed id (litellm 1.110.2,
    `proxy/openai_files_endpoints/common_utils.py`, `types/utils.py`: `SpecialEnums`).
    """
    if len(text) > _LONGEST or "bGl0ZWxsb" not in text[:16]:
        return text, ()
    encoded = text.removeprefix("file-").removeprefix("batch_")
    try:
        inside = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return text, ()
    for form in (_ENCODED, _FILE, _BATCH):
        if found := form.fullmatch(inside):
            return found["id"], tuple(filter(None, found["models"].split(",")))
    return text, ()
