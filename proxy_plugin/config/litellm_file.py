"""What LiteLLM's own sections say beside `model_list`, and what of them is not read. Nothing in them is a problem.

Sources: litellm 1.106.2, `proxy/proxy_server.py` (`load_config`), `types/router_weights.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy_plugin.config.references import ABSENT, replaced

_READ: dict[str, set[str] | None] = {  # section -> what of it is read; None: all
    "model_list": None,
    "environment_variables": None,
    "credential_list": None,
    "files_settings": None,
    "litellm_settings": {"drop_params"},  # and our plugin in `callbacks`
    "general_settings": {"master_key"},
    "router_settings": {"model_group_alias", "weights"},
}
PLUGIN = "proxy_plugin.litellm_callback.plugin"
SHUFFLE = "simple-shuffle"  # LiteLLM's default strategy, which is how lines are spread here


class Alias(NamedTuple):
    """Another name for the models called `model`; a hidden one is in no list."""

    model: str
    hidden: bool = False


@dataclass(slots=True)
class LiteLLM:
    """The sections of one file, as far as they are read."""

    environ: Mapping[str, str] = field(repr=False)  # with `environment_variables`
    lent: Mapping[str, str] = field(default_factory=dict, repr=False)  # these alone
    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # name -> id of an entry -> its weight
    files: tuple[object, ...] = field(default=(), repr=False)
    master_key: object = field(default=None, repr=False)
    drop_params: bool = False
    callbacks: list[object] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_litellm(mapping: Mapping[str, Any], environ: Mapping[str, str], ours: str) -> LiteLLM:
    """Read the sections of a file but its `model_list`. `ours` is the name of the section that is not LiteLLM's."""
    lent = _variables(mapping.get("environment_variables"), environ)
    router, general = _mapping(mapping.get("router_settings")), _mapping(mapping.get("general_settings"))
    files = mapping.get("files_settings")
    settings = _mapping(mapping.get("litellm_settings"))
    found = LiteLLM(
        environ={**environ, **lent},
        lent=lent,
        credentials=dict(_credentials(mapping.get("credential_list"))),
        aliases=dict(_aliases(_mapping(router.get("model_group_alias")))),
        weights={str(name): dict(_numbers(each)) for name, each in _mapping(router.get("weights")).items()},
        files=tuple(files) if isinstance(files, list | tuple) else (),
        master_key=general.get("master_key"),
        drop_params=settings.get("drop_params") is True,
        callbacks=_callbacks(settings),
        unread=list(_unread(mapping, ours)),
    )
    if found.master_key is None and (general or mapping.get("model_list")):  # as `load_config` does
        found.master_key = found.environ.get("LITELLM_MASTER_KEY", "").strip() or None
    return found


def unread_parameters(entries: Iterable[tuple[Mapping[str, Any], frozenset[str]]]) -> Iterator[str]:
    """Yield a line for what entries of the list say in vain; each is (its parameters, the names of those read)."""
    left = Counter(name for params, known in entries for name, value in params.items() if name not in known and value)
    if left:
        told = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(left.items()))
        yield f"model_list.*.litellm_params: {told}"


def _unread(mapping: Mapping[str, Any], ours: str) -> Iterator[str]:
    for section, said in mapping.items():
        known = _READ.get(str(section), set())
        if section == ours or not said or known is None:
            continue
        names = [str(name) for name in said if name not in known] if known and isinstance(said, Mapping) else []
        if section == "router_settings" and _mapping(said).get("routing_strategy") == SHUFFLE:
            names.remove("routing_strategy")
        if section == "litellm_settings" and _callbacks(said) == [PLUGIN]:
            names.remove("callbacks")
        if names:
            yield f"{section}: {', '.join(names)}"
        elif not known:
            yield str(section)


def _callbacks(settings: object) -> list[object]:
    said = _mapping(settings).get("callbacks")
    return list(said) if isinstance(said, list | tuple) else [said]


def _variables(raw: object, environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _mapping(raw).items():
        text = replaced(value, str(name), environ, {})
        if text is not ABSENT and text is not None:
            found[str(name)] = str(text)
    return found


def _credentials(raw: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in raw if isinstance(raw, list | tuple) else ():
        name, values = _mapping(entry).get("credential_name"), _mapping(entry).get("credential_values")
        if isinstance(name, str) and isinstance(values, Mapping):
            yield name, values


def _aliases(raw: Mapping[str, Any]) -> Iterator[tuple[str, Alias]]:
    for name, meant in raw.items():
        model, hidden = (meant.get("model"), meant.get("hidden")) if isinstance(meant, Mapping) else (meant, False)
        if isinstance(model, str):
            yield str(name), Alias(model, hidden is True)


def _numbers(raw: object) -> Iterator[tuple[str, float]]:
    for name, value in _mapping(raw).items():
        if (weight := number(value)) is not None:
            yield str(name), weight


def number(value: object) -> float | None:
    """Return a weight, None for what is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else None


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}
