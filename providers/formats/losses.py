"""What a translation cannot keep: the line is refused by name, or the loss is written down.

    hint    promises nothing about the answer (`hints`): left out and written down without a switch
    told    asked for in words, not enforced: written down as `name=told, not enforced`
    loss    refused, unless the route says `drop_params`; then left out, or replaced, and written down
    never   an answer without it would lack what the caller reads from it: refused, whatever the route says

`strict_params` makes a hint, and what is told, a loss. A value that means the same as leaving it out is no loss. Names
are the caller's own fields, so that the message can be acted on; values are never repeated, they are user content.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.hints import HINTS

TOLD = "told, not enforced"
_NUMBER = re.compile(r"\[\d+\]")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOTHING: tuple[object, ...] = (None, "", [], {})
# Members of the providers' own requests: none of them may be told that its provider has no such thing.
_NATIVE = frozenset(
    {
        *("generationConfig", "generation_config", "systemInstruction", "system_instruction", "contents", "labels"),
        *("safetySettings", "safety_settings", "toolConfig", "tool_config", "cachedContent", "cached_content"),
        *("inferenceConfig", "additionalModelRequestFields", "performanceConfig", "guardrailConfig", "outputConfig"),
        *("requestMetadata", "promptVariables", "system", "stop_sequences", "anthropic_version", "anthropic_beta"),
    }
)
_SWITCH = (
    "add the header 'x-portkey-config: {\"drop_params\": true}' to the batch ('--drop-params' of 'proxy-plugin batch')"
    ", or 'drop_params: true' to the virtual key in the configuration"
)
_WAY_OUT = re.compile(rf"(?:, or run the line [^:]*: |\. To leave out what may be left out, ){re.escape(_SWITCH)}\.\Z")
_NAMED = 20  # refused parameters in one message
_KEPT = 1_000  # names of one line that are kept, of each kind: a body of 16 MB may have two million members
_OTHERS = "(others)"


class _Refused(NamedTuple):
    """One refused parameter; `without`: how the line runs where the switch is set, empty where none helps."""

    param: str
    text: str
    without: str


class Losses:
    """The losses of one line. `provider` is the API's name in messages.

    A translation goes on behind a refused parameter, so that one message names them all: `settled` raises it.
    """

    __slots__ = ("_allowed", "_more", "_names", "_provider", "_refused", "_strict")

    def __init__(self, *, allowed: bool, provider: str, strict: bool = False) -> None:
        self._allowed, self._strict, self._provider = allowed, strict, provider
        self._refused: dict[_Refused, None] = {}
        self._more = False  # more was refused than is kept
        self._names: dict[str, None] = {}

    def add(self, param: str, reason: str, remedy: str, *, instead: str | int | None = None) -> None:
        """Note that `param` (a path such as `messages[3].name`) is lost, or refuse it where that is not allowed.

        Kept without the numbers: `messages[].name`. `instead` is our own value that goes in its place, and is noted
        too: `temperature=1`.
        """
        self._note(param, reason, remedy, instead, hint=_NUMBER.sub("[]", param) in HINTS)

    @property
    def allowed(self) -> bool:
        """Whether the route allows losses."""
        return self._allowed

    @property
    def terms(self) -> tuple[bool, bool, str]:
        """What decides whether something is refused, and in which words."""
        return self._allowed, self._strict, self._provider

    @property
    def names(self) -> tuple[str, ...]:
        """What was lost so far."""
        return tuple(self._names)

    @property
    def simple(self) -> bool:
        """Whether nothing was refused, and no name left out: then `take` of its names says all."""
        return not self._refused and len(self._names) < _KEPT

    def apart(self) -> Losses:
        """Return losses under the same terms, with nothing in them."""
        return Losses(allowed=self._allowed, provider=self._provider, strict=self._strict)

    def take(self, names: tuple[str, ...]) -> None:
        """Note what others that are `simple` have noted."""
        for name in names:
            self._put(name)

    def hint(self, param: str, reason: str, remedy: str, *, instead: str | int | None = None) -> None:
        """Note that a value is left out which only hints, or is said in another way, where its path does not say so."""
        self._note(param, reason, remedy, instead, hint=True)

    def note(self, param: str) -> None:
        """Note what has no effect, so that it is not sent; no setting refuses it."""
        self._keep(param, None)

    def tell(self, param: str, reason: str, remedy: str) -> None:
        """Note that `param` is asked for in words, which the model may not follow."""
        self._note(param, reason, remedy, TOLD, hint=True)

    def never(self, param: str, reason: str) -> None:
        """Refuse a parameter that no setting lets be left out; `reason` holds the remedy."""
        self._refuse(_Refused(param, f"{param}: {reason}", ""))

    def add_unknown(self, given: dict[str, Any], known: AbstractSet[str], path: str = "") -> None:
        """Note every member of `given` that has no place in the translation and says something."""
        if given.keys() <= known:
            return
        for key, value in given.items():
            if key not in known and value not in _NOTHING:
                reason, remedy = f"{self._provider} has no equivalent", "Remove it"
                if not path and key in _NATIVE:
                    reason, remedy = (
                        "is a member of a provider's own format, not read here",
                        "Send OpenAI's parameter for it",
                    )
                self.add(join(path, key), reason, remedy)

    def settled(self) -> tuple[str, ...]:
        """Return what was lost. Raises LineRejected, which names every parameter that is refused."""
        if not self._refused:
            return tuple(self._names)
        params = tuple(dict.fromkeys(each.param for each in self._refused))
        shown = list(dict.fromkeys(each.text for each in self._refused))
        least = "at least " if self._more else ""
        more = f". And {least}{len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        message = f"{'. '.join(shown[:_NAMED])}{more}{self._way_out()}."
        raise LineRejected(message, code="unsupported_parameter", param=params[0], params=params)

    def _way_out(self) -> str:
        """Return how the line runs nevertheless, with the line to add."""
        soft = [each for each in self._refused if each.without]
        if not soft:
            return ""
        if len(soft) < len(self._refused):
            return f". To leave out what may be left out, {_SWITCH}"
        return f", or run the line {soft[0].without if len(soft) == 1 else 'without them'}: {_SWITCH}"

    def _note(self, param: str, reason: str, remedy: str, instead: str | int | None, *, hint: bool) -> None:
        if not self._allowed and (self._strict or not hint):
            without = "without it" if instead is None else "with it told" if instead == TOLD else f"with {instead}"
            self._refuse(_Refused(param, f"{param}: {reason}. {remedy}", without))
            return
        self._keep(param, instead)

    def _refuse(self, refused: _Refused) -> None:
        if len(self._refused) < _KEPT:
            self._refused[refused] = None
        else:
            self._more = True

    def _keep(self, param: str, instead: str | int | None) -> None:
        self._put(_NUMBER.sub("[]", param) + ("" if instead is None else f"={instead}"))

    def _put(self, name: str) -> None:
        self._names[name if len(self._names) < _KEPT or name in self._names else _OTHERS] = None


def joined(first: LineRejected, later: LineRejected) -> LineRejected:
    """Return one refusal of two steps of a translation; the way out is told once, where both have it."""
    begun = _WAY_OUT.sub("", first.message) if _SWITCH in later.message else first.message
    params = tuple(dict.fromkeys((*first.params, *later.params)))
    return LineRejected(f"{begun.rstrip('.')}. {later.message}", code=first.code, param=params[0], params=params)


def join(path: str, key: str) -> str:
    """Return the path of a member. A key that is no plain word is not repeated."""
    name = key if _PLAIN.fullmatch(key) else "(other)"
    return f"{path}.{name}" if path else name


def rejected(param: str, message: str, code: str = "invalid_value") -> LineRejected:
    """Return the refusal of a field that no setting could let pass."""
    return LineRejected(f"{param}: {message}.", code=code, param=param)
