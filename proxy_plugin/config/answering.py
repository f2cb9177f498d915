"""Which accounts answer ordinary calls where the gateway runs alone, and what the others lack."""

from __future__ import annotations

from collections import Counter

from proxy_plugin.config.sections import Config
from proxy_plugin.providers import catalog
from proxy_plugin.routing.route import NEVER


def answering(config: Config) -> tuple[int, int, list[str]]:
    """Return how many virtual keys can answer chat and the like, of how many, and why the others cannot."""
    keys = config.virtual_keys.values()
    reasons = Counter(
        f"{key.slug} says direct_calls: never"
        if key.direct_calls == NEVER
        else f"{key.provider}: {catalog.lacking_for_calls(key.provider)}"
        for key in keys
        if key.direct_calls == NEVER or catalog.lacking_for_calls(key.provider)
    )
    return len(keys) - reasons.total(), len(keys), list(reasons)


def described(config: Config) -> str:
    """Return who answers chat, completions, embeddings and responses, in one line."""
    in_front = config.server.upstream is not None
    if not config.alone.enabled:
        return "chat and the like by the upstream" if in_front else "none but files and batches (alone.enabled: false)"
    able, of, reasons = answering(config)
    because = f", because {'; '.join(reasons)}" if reasons else ""
    if in_front:
        return f"chat and the like by the upstream; where headers name a virtual key, by {able} of {of}{because}"
    return f"chat, completions, embeddings and responses by {able} of {of} virtual keys{because}"
