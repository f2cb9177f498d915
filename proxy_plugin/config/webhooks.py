"""Receivers of webhooks in the configuration, and the secrets that they know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, SecretStr

from proxy_plugin.config.kinds import Settings, Slug
from proxy_plugin.ground.webhooks import ENDS, check_event, check_secret, check_url, read_url

if TYPE_CHECKING:
    from proxy_plugin.config.sections import Config


def _url(text: str) -> str:
    read_url(text)
    return text


def _secret(secret: SecretStr) -> SecretStr:
    check_secret(secret.get_secret_value())
    return secret


Secret = Annotated[SecretStr, AfterValidator(_secret)]


class Webhook(Settings):
    """A receiver of a workspace's events. What it gets is signed with `secret` and with each of `previous_secrets`.

    Without a `url`: the secret that signs what goes to URLs which batches of the workspace name themselves.
    """

    url: Annotated[str, AfterValidator(_url)] | None = None
    """Where the events are sent, by POST. Example: https://hooks.example.com/batches"""
    secret: Secret
    """What signs them: `whsec_` and the base64 of 24 to 64 bytes. Example: os.environ/WEBHOOK_SECRET"""
    previous_secrets: Annotated[tuple[Secret, ...], Field(max_length=4)] = ()
    """Secrets that sign as well until every receiver knows the present one. Example: [os.environ/OLD_WEBHOOK_SECRET]"""
    workspace: Slug = "default"
    """The workspace whose batches are told of."""
    events: Annotated[tuple[Annotated[str, AfterValidator(check_event)], ...], Field(min_length=1)] = ENDS
    """Which events are sent; without the setting those of a batch's end. Example:
    [batch.completed, batch.failed, batch.progress]
    """

    def secrets(self) -> list[str]:
        """Return all secrets that sign, the present one first."""
        return [each.get_secret_value() for each in (self.secret, *self.previous_secrets)]


def twins(path: str, entries: Sequence[Webhook | None]) -> Iterator[str]:
    """Yield a problem for each entry whose workspace has one with the same URL before it."""
    seen = set[tuple[str, str | None]]()
    for n, entry in enumerate(entries):
        if entry is not None and (entry.workspace, entry.url) in seen:
            yield f"{path}.{n}: the workspace has an entry with the same url"
        elif entry is not None:
            seen.add((entry.workspace, entry.url))


def described(config: Config) -> Iterator[str]:
    """Yield who is told, of what, and where that cannot be."""
    for entry in config.webhooks:
        doubt = ""
        try:
            check_url(entry.url or "https://example.com", config.server.webhooks_hosts)
        except ValueError as error:
            doubt = f"; is not called: it {error}"
        where = entry.url or "URLs that batches name"
        yield f"  {entry.workspace}  {where}: {' '.join(entry.events) if entry.url else 'their ends'}{doubt}"
