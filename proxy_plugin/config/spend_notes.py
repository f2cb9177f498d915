"""What `check` says of the way that costs of batches take to LiteLLM: who is told, and who keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy_plugin.config.litellm_file import PLUGIN


def notes(mapping: Mapping[str, Any], environ: Mapping[str, str], ours: str, *, master: bool) -> Iterator[str]:
    """Yield lines where there is a LiteLLM: one in front of which, or inside which, this file puts the gateway.

    `ours` is the name of our section, `environ` what LiteLLM sees; `master`: its master key is known here.
    """
    settings, general = _mapping(mapping.get("litellm_settings")), _mapping(mapping.get("general_settings"))
    said = settings.get("callbacks")
    inside = PLUGIN in (said if isinstance(said, list | tuple) else [said])
    upstream = _mapping(_mapping(mapping.get(ours)).get("server")).get("upstream")
    if not inside and not (upstream and (general or mapping.get("model_list"))):
        return
    if inside and (master or not upstream):
        yield "what a batch of a LiteLLM key costs is told to LiteLLM, once, when the batch has ended"
    elif inside:
        yield "LiteLLM is not told what batches cost: general_settings.master_key is not known here"
    else:
        yield f"LiteLLM is not told what batches cost: add {PLUGIN} to litellm_settings.callbacks of the file it reads"
    if not general.get("database_url") and not environ.get("DATABASE_URL"):
        yield (
            "LiteLLM has no database (general_settings.database_url or DATABASE_URL): it keeps no spend and no virtual"
            " keys, and what batches cost reaches its other callbacks alone"
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
