"""What `proxy-plugin check` prints: what is served, for whom, by which accounts, over which routes. Shows no secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from proxy_plugin.config import answering, connections, inside, webhooks
from proxy_plugin.config.bounds import DirectLimits
from proxy_plugin.config.model_list import DISABLED, NO_LANE, RETIRED
from proxy_plugin.config.sections import (
    LITELLM,
    ApiKey,
    Config,
    KeyOfLiteLLM,
    ModelEntry,
    Options,
    VirtualKey,
)
from proxy_plugin.config.stores import checks
from proxy_plugin.ground.masking import Masker, secrets_in
from proxy_plugin.providers import catalog, matrix
from proxy_plugin.providers.base import InputMode
from proxy_plugin.routing import portkey_config
from proxy_plugin.routing.config_tree import CONDITIONAL, FALLBACK, LOADBALANCE, Node, Slug
from proxy_plugin.routing.route import NEVER

_EVERYBODY = "  everybody on this machine  workspace default; virtual keys *"


def render_check(config: Config, live: Mapping[str, str] | None = None) -> str:
    """Return what `proxy-plugin check` prints: what is served, for whom, by which accounts. Shows no secret.

    `live` has, by virtual key, why an account cannot be used, and an empty text where it can.
    """
    server = config.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    mask = Masker(secrets_in(config)).mask  # not of names: a dummy key may be the same common word
    lines = [
        f"server    http://{host}:{server.port}",
        f"upstream  {mask(server.upstream or 'none')}",
        f"calls     {mask(answering.described(config))}",
        *([f"inside    {inside.described(config)}"] if config.inside else []),
        f"data dir  {config.storage.data_dir}",
        *([f"storage   {mask(_storage(config, live))}"] if config.storage.shared else []),
        f"clients   {connections.described(config)}",
        "callers",
        *([*_callers(config), *map(mask, _of_litellm(config))] or [_EVERYBODY]),
        "virtual keys",
        *[f"  {slug}  {_state(slug, live)}: {_described(key, mask)}" for slug, key in config.virtual_keys.items()],
        *[f"  {slug}  disabled: {mask(reason)}" for slug, reason in config.disabled.items()],
        *_section("lanes", _lanes({key.provider for key in config.virtual_keys.values()})),
        *_section("models", (f"  {each.name}  {_model(each)}" for each in config.models)),
        *(["  " + mask(_counted(config))] if config.models else []),
        *_section("configs", (f"  {name}  {described(raw)}" for name, raw in config.configs.items())),
        *_section("webhooks", map(mask, webhooks.described(config))),
        *_section("spend", (f"  {each}" for each in config.spend)),
        *_section("not read", (f"  {each}" for each in config.unread)),
        *_section("warnings", (f"  {mask(warning)}" for warning in config.warnings)),
    ]
    return "\n".join(lines)


def check_facts(config: Config, live: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the same as JSON: `ok` is False where an account is disabled or, asked, cannot be used."""
    mask = Masker(secrets_in(config)).mask
    asked = live or {}
    keys: list[dict[str, Any]] = [
        {"virtual_key": slug, "provider": key.provider, "enabled": True}
        | ({"usable": not asked[slug], "reason": asked[slug] or None} if slug in asked else {})
        for slug, key in config.virtual_keys.items()
    ]
    keys += [
        {"virtual_key": slug, "enabled": False, "reason": mask(reason)} for slug, reason in config.disabled.items()
    ]
    able, of, reasons = runnable(config)
    return {
        "ok": not config.disabled and not any(asked.values()),
        "virtual_keys": keys,
        "calls": mask(answering.described(config)),
        "models": {"can_run_batches": able, "of": of, "reasons": [mask(each) for each in reasons]},
        "storage": mask(_storage(config, live)),
        "spend": list(config.spend),
        "inside": config.inside and config.server.upstream is None,
        "not_read": list(config.unread),
        "warnings": [mask(warning) for warning in config.warnings],
    }


def _storage(config: Config, live: Mapping[str, str] | None) -> str:
    asked = [name for name in (checks.DATABASE, checks.STORE) if name in (live or ())]
    found = [f"{name.strip('()')} {_state(name, live)}" for name in asked]
    apart = (live or {}).get(checks.CLOCK)
    return "; ".join([checks.described(config.storage), *found, *([apart] if apart else [])])


def _state(slug: str, live: Mapping[str, str] | None) -> str:
    if live is None:
        return "enabled"
    return f"unusable ({live[slug]})" if live[slug] else "usable"


def _described(key: VirtualKey, mask: Callable[[str], str]) -> str:
    capabilities = catalog.load(key.provider).capabilities
    endpoints = [value for name, value in key.credentials if name.endswith("_endpoint_url") and value is not None]
    hosts = ", ".join(endpoints) or capabilities.host(key.credentials)
    said = key.model_fields_set
    chosen = [name for name in Options.model_fields if name in said and getattr(key, name) is not None]
    if capabilities.input_mode is InputMode.DIRECT:
        hosts = f"{hosts or 'its own host'}, direct at full price"
        hosts += f" ({missing})" if (missing := catalog.lacking(key.provider)) else ""
    return "; ".join([f"{key.provider} at {mask(hosts)}", *[f"{name} {_shown(getattr(key, name))}" for name in chosen]])


def _shown(value: object) -> str:
    if isinstance(value, DirectLimits):
        return ", ".join(f"{name} {getattr(value, name)}" for name in sorted(value.model_fields_set))
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [title, *found] if found else []


def _lanes(used: Iterable[str]) -> Iterator[str]:
    """Yield what each lane in use can do, and below it what its callers should know."""
    for name in sorted(used):
        facts, *caveats = matrix.described(name)
        yield f"  {name}  {facts}"
        yield from (f"    {each}" for each in caveats)


def _callers(config: Config) -> Iterator[str]:
    for key in config.api_keys:
        passed_on = ""
        if config.server.upstream is not None and (key.forward or key.upstream_key is not None):
            passed_on = f"; {'passed on to the upstream' if key.forward else 'the upstream gets its upstream_key'}"
        yield f"  {key.name}  {_may(key, key.workspace)}{passed_on}"


def _of_litellm(config: Config) -> Iterator[str]:
    """Yield whom keys of LiteLLM's name, where they are asked for."""
    if config.auth != LITELLM:
        return
    asked = (
        "checked by LiteLLM itself, which this gateway is inside of" if config.inside else "nobody can be asked of them"
    )
    if config.server.upstream is not None:
        kept = f"kept {config.litellm_keys.cache_seconds:g} s, passed on to the upstream"
        asked = f"asked of {config.server.upstream}, {kept}"
    yield f"  keys of LiteLLM  {asked}"
    for path, entry in config.litellm_keys.entries():
        yield f"    {path}  {_may(entry, entry.workspace or 'of its own')}"


def _may(entry: ApiKey | KeyOfLiteLLM, workspace: str) -> str:
    models = f"; models {_shown(entry.models)}" if entry.models else ""
    default = f"; default {entry.default}" if entry.default else ""
    return f"workspace {workspace}; virtual keys {_shown(entry.virtual_keys)}{models}{default}"


def runnable(config: Config) -> tuple[int, int, list[str]]:
    """Return how many entries of the list can run batches, of how many, and why the others cannot."""
    entries = {each.of or index: each for index, each in enumerate(config.models) if not each.alias}
    reasons = Counter(_why_not(each, config) for each in entries.values() if each.closed)
    told = [f"{count} of them: {why}" if count > 1 else why for why, count in reasons.most_common()]
    return len(entries) - reasons.total(), len(entries), told


def _counted(config: Config) -> str:
    able, of, reasons = runnable(config)
    return f"{able} of {of} models can run batches{', because ' + '; '.join(reasons) if reasons else ''}"


def _why_not(entry: ModelEntry, config: Config) -> str:
    if entry.closed == NO_LANE and entry.model == "*" and entry.provider is None:
        return "the environment has no key of a provider with a batch lane, which a lone * needs"
    if entry.closed == NO_LANE:
        return f"{entry.provider or 'whatever serves ' + entry.model} cannot be served"
    if entry.closed == RETIRED:
        return f"{entry.name} is retired"
    return f"{entry.provider} lacks something ({config.disabled.get(entry.slug or '', 'disabled')})"


def _model(entry: ModelEntry) -> str:
    if entry.closed == NO_LANE:
        return f"cannot be served: {entry.provider or 'unknown provider'}"
    state = {DISABLED: "disabled", RETIRED: "retired"}.get(entry.closed or "", f"weight {entry.weight:g}")
    return f"{entry.model} at @{entry.slug}; {state}"


def described(raw: Mapping[str, Any]) -> str:
    """Return a valid config in one line: who gets which share, or what under which condition."""
    node = portkey_config.read(raw)
    return "; ".join([_node(node), *_whole(node)])


def _whole(node: Node) -> Iterator[str]:
    """Yield what is done for the whole batch."""
    rescue, cache, fan_out = node.whole
    if rescue is not None:
        often = "as often as there are targets" if rescue.attempts is None else f"at most {rescue.attempts} time(s)"
        codes = f" after {_codes(rescue.codes)}" if rescue.codes else ""
        yield f"failed lines are asked again {often}{codes}"
        if rescue.direct_before is not None:
            yield f"ordinary calls from {rescue.direct_before:g} s before the end of the window"
    if cache is not None:
        yield "answers are kept" + ("" if cache.max_age is None else f" for {cache.max_age:g} s")
    if fan_out:
        yield "lines that want several answers are fanned out"


def _node(node: Node) -> str:
    if node.mode is None:
        return _target(node)
    inner = [f"({_node(child)})" if child.children else _node(child) for child in node.children]
    if node.mode == LOADBALANCE:
        total = sum(child.weight for child in node.children)
        return ", ".join(
            f"{child.weight / total:.3%} {text}".replace(".000%", "%")
            for child, text in zip(node.children, inner, strict=True)
        )
    if node.mode == FALLBACK:
        after = f", after {_codes(node.codes)}: " if node.codes else ", else "
        return after.join(inner)
    if node.mode == CONDITIONAL:
        cases = [f"if {_fields(each.query)}: {inner[each.then]}" for each in node.conditions]
        return ", ".join([*cases, f"else {inner[node.default]}" if node.default is not None else "else rejected"])
    return inner[0]


def _codes(codes: Iterable[int]) -> str:
    return " ".join(map(str, codes))


def _fields(query: Mapping[str, Any]) -> str:
    return " and ".join(query)


def _target(node: Node) -> str:
    account, model = node.settings.account, node.settings.model
    where, direct = "the account that headers or lines name", node.settings.direct
    if account is not None:
        where = f"@{account.slug}" if isinstance(account, Slug) else f"{account.provider} with a key in the config"
    where = f"{where} as {model}" if model else where
    return where if direct in (None, NEVER) else f"{where} (direct calls {direct})"
