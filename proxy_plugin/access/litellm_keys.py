"""Keys of LiteLLM's: asked of the upstream, remembered for a short time, and whom they name here.

A key is known by its SHA-256, which is LiteLLM's own name for it; the key itself is kept by nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from multidict import MultiMapping

from proxy_plugin.access.callers import PLACEHOLDER, UNKNOWN_KEY, Caller, Callers, sent_keys
from proxy_plugin.access.identity import Identity
from proxy_plugin.config import Config
from proxy_plugin.config.kinds import SLUG
from proxy_plugin.config.model_list import unplaced
from proxy_plugin.config.sections import LITELLM, KeyOfLiteLLM, LiteLLMKeys
from proxy_plugin.ground.clock import Clock
from proxy_plugin.ground.errors import Unauthenticated, Unavailable
from proxy_plugin.routing.route import allowed

Ask = Callable[[str], Awaitable[Identity | None]]  # None: refused. Raises Unavailable where there is no answer
KEPT = 10_000  # keys of which an answer is remembered, and as many that were refused
ASK_SECONDS = 20.0  # until a question is answered, the wait for its turn included
PAUSE_SECONDS = 1.0  # after a question that got no answer, in which the same is not asked again
_KEY = re.compile(r"[!-~]{1,1024}")
_ALL = {"all-proxy-models", "*"}  # in the list of a key: no bound


class Keys:
    """Who is calling, with a key of ours or of LiteLLM's. `ask` is set where there is an upstream."""

    def __init__(self, config: Config, callers: Callers, clock: Clock) -> None:
        self.ask: Ask | None = None
        self._callers, self._clock = callers, clock
        self._answers = _Answers(config.litellm_keys, clock)
        self.learn(config)

    def learn(self, config: Config) -> None:
        """Go on with another configuration; what is known of keys stays known."""
        self._config, self._groups = config, _access_groups(config)
        self._answers.settings = config.litellm_keys

    async def authenticate(self, headers: MultiMapping[str], remote: str | None) -> Caller:
        """Return the caller. Raises what `Callers.authenticate` raises; Unavailable if nobody can tell who it is."""
        if self._config.auth != LITELLM or self._callers.knows(headers):
            return self._callers.authenticate(headers, remote)
        key = self._callers.presented(headers)
        if self.ask is None or _KEY.fullmatch(key) is None:
            raise Unauthenticated(UNKNOWN_KEY)
        identity = await self._answers.of(key, self.ask)
        if identity is None or _has_ended(identity, self._clock.now()):
            raise Unauthenticated(UNKNOWN_KEY)
        return self._callers.holding(self.of(identity), key, headers)

    def vouched(self, identity: Identity, headers: MultiMapping[str]) -> Caller:
        """Return the caller whom LiteLLM itself has authenticated; the headers that hold its key hold nobody else's."""
        key = next((each for each in sent_keys(headers) if key_hash(each) == identity.key_hash), PLACEHOLDER)
        return self._callers.holding(self.of(identity), key, headers)

    def of(self, identity: Identity) -> Caller:
        """Return whom LiteLLM's key names here."""
        if identity.admin:
            default = unplaced(self._config.virtual_keys)
            return Caller(identity.name, "default", default=default, forwards=True, identity=identity)
        found, is_its_own = self._entry(identity)
        return Caller(
            identity.name,
            found.workspace or _own_workspace(identity, None if is_its_own else identity.team_id),
            found.virtual_keys,
            models=self._models(identity) if found.models is None else found.models,
            default=found.default or self._unplaced(found),
            forwards=True,
            identity=identity,
        )

    def _entry(self, identity: Identity) -> tuple[KeyOfLiteLLM, bool]:
        """Return what is said of a key, and whether it is said of this key alone."""
        said = self._config.litellm_keys
        for name in (identity.name, identity.key_hash):
            if name in said.keys:
                return said.keys[name], True
        for team in (identity.team_id, identity.team_alias):
            if team is not None and team in said.teams:
                return said.teams[team], False
        return said.default, False

    def _unplaced(self, found: KeyOfLiteLLM) -> str | None:
        """Return the account that LiteLLM takes where nothing is said, if these keys may use it."""
        slug = unplaced(self._config.virtual_keys)
        return slug if slug and any(fnmatchcase(slug, pattern) for pattern in found.virtual_keys) else None

    def _models(self, identity: Identity) -> tuple[str, ...] | None:
        """Return the models that LiteLLM allows a key, with those of the access groups that it names; None: all."""
        found: tuple[str, ...] | None = None
        for names in (identity.models, *identity.within):
            if names and not _ALL & set(names):
                expanded = tuple(dict.fromkeys(each for name in names for each in self._groups.get(name, (name,))))
                found = expanded if found is None else _common(found, expanded)
        return found

    async def close(self) -> None:
        """End the questions that run."""
        await self._answers.close()


class _Answer(NamedTuple):
    """What was said of a key. Until `until` it is not asked for again, until `usable` it stands in for an answer."""

    identity: Identity | None
    until: float
    usable: float


class _Answers:
    """The answers of an upstream by the hash of the key. Askers of one key share one question."""

    def __init__(self, settings: LiteLLMKeys, clock: Clock) -> None:
        self.settings, self._clock = settings, clock
        self._known, self._refused = OrderedDict[str, _Answer](), OrderedDict[str, _Answer]()
        self._running: dict[str, asyncio.Task[Identity | None]] = {}
        self._places = asyncio.Semaphore(settings.at_once)

    async def of(self, key: str, ask: Ask) -> Identity | None:
        """Return who this is, None for nobody. Raises Unavailable."""
        name, now = key_hash(key), self._clock.monotonic()
        kept = self._known.get(name) or self._refused.get(name)
        if kept is not None and now < kept.until:
            return kept.identity
        if name not in self._running:
            self._running[name] = task = asyncio.create_task(self._asked(name, key, ask), name="key of LiteLLM's")
            task.add_done_callback(lambda done: self._ended(name, done))
        try:
            return await asyncio.shield(self._running[name])
        except Unavailable:
            if kept is None or kept.identity is None or now >= kept.usable:
                raise
            self._keep(name, kept._replace(until=now + PAUSE_SECONDS))
            return kept.identity

    async def _asked(self, name: str, key: str, ask: Ask) -> Identity | None:
        try:
            async with asyncio.timeout(ASK_SECONDS), self._places:
                identity = await ask(key)
        except TimeoutError:
            raise untold() from None
        said, now = self.settings, self._clock.monotonic()
        until = now + (said.refused_seconds if identity is None else said.cache_seconds)
        self._keep(name, _Answer(identity, until, until + said.stale_seconds))
        return identity

    def _keep(self, name: str, answer: _Answer) -> None:
        ours, other = self._known, self._refused
        if answer.identity is None:
            ours, other = other, ours
        other.pop(name, None)
        ours[name] = answer
        ours.move_to_end(name)
        if len(ours) > KEPT:
            ours.popitem(last=False)

    def _ended(self, name: str, task: asyncio.Task[Identity | None]) -> None:
        self._running.pop(name, None)
        if not task.cancelled():
            task.exception()  # told to whoever still waits; nobody may

    async def close(self) -> None:
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


def untold() -> Unavailable:
    """Return the refusal of a key that nobody could be asked about."""
    message = "The upstream of this gateway, which may know the key of this request, did not answer; nothing was done."
    return Unavailable(message, code="key_not_checked")


def key_hash(key: str) -> str:
    """Return LiteLLM's name of a key (1.110.2, `proxy/utils.py`, `hash_token`)."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def short_name(hashed: str) -> str:
    """Return what a key without an alias is called."""
    return f"litellm-{hashed[:8]}"


def _own_workspace(identity: Identity, team: str | None) -> str:
    """Return the workspace of a team, or of a key without one: so much of its hash that nobody makes an equal one."""
    if team is None:
        return f"key-{identity.key_hash[:16]}"
    named = f"team-{team}"
    return named if SLUG.fullmatch(named) else f"team-{key_hash(team)[:16]}"


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names and patterns of each list that the other allows."""
    kept = [name for name in one if allowed(other, name)] + [name for name in other if allowed(one, name)]
    return tuple(dict.fromkeys(kept))


def _has_ended(identity: Identity, now: float) -> bool:
    if identity.blocked or identity.expires is None:
        return identity.blocked
    try:
        ends = datetime.fromisoformat(identity.expires)
    except ValueError:
        return True
    return (ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp() <= now


def _access_groups(config: Config) -> dict[str, tuple[str, ...]]:
    """Return {access group: names in the list}; a group of a name in the list is this name's alone."""
    found: dict[str, list[str]] = {}
    for name, group in _grouped(config):
        found.setdefault(group, []).append(name)
    return {group: tuple(names) for group, names in found.items()}


def _grouped(config: Config) -> Iterator[tuple[str, str]]:
    for entry in config.model_list:
        info = entry.get("model_info") if isinstance(entry, dict) else None
        groups = info.get("access_groups") if isinstance(info, dict) else None
        for group in groups if isinstance(groups, list) else ():
            if isinstance(group, str) and isinstance(entry.get("model_name"), str):
                yield entry["model_name"], group
