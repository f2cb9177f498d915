"""The account that a line goes to, with the adapter of its provider: what it refuses, changes and translates."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from msgspec import structs

from proxy_plugin.ground.meter import Allowance, Meter, TooCostly
from proxy_plugin.lines.body_changes import BodyEditor
from proxy_plugin.lines.choose import Chooser, TargetSpec
from proxy_plugin.lines.choosing.choice import Choice
from proxy_plugin.lines.fan_out.requests import Asking, check_requests, longest_of
from proxy_plugin.lines.ways import DIRECT, half
from proxy_plugin.providers.base import LineIn, LineRejected, Native, Target
from proxy_plugin.providers.direct.base import PureHalf
from proxy_plugin.routing.endpoints import is_mixed
from proxy_plugin.routing.route import NOT_ALLOWED, Rescue, Rules, allowed

_MODELS_NAMED = 10
_LANES_KEPT = 10_000  # choices whose lane is remembered
_REFUSALS_TOLD = 20  # of one line
_BYTES_TRIED = 4 * 2**20  # of translations to find them all: of a line of 16 MB the first must do
_Body = dict[str, Any]
_PLACE = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d+)\])?(?:\.([A-Za-z0-9_-]+))?(.*)")
# Without these there is no request: nothing may be wrong with what stands in their place while the rest is looked at.
_NEEDED = {"model": None, "messages": [{"role": "user", "content": "x"}], "input": "x", "prompt": "x"}
_MODEL_KEY = re.compile(
    rb'"(?:m|\\u00[46]d)(?:o|\\u00[46]f)(?:d|\\u00[46]4)(?:e|\\u00[46]5)(?:l|\\u00[46]c)"\s*:', re.IGNORECASE
)
_FORMED = frozenset({"type", "role", "content", "function", "text", "tool_calls", "tool_call_id"})  # and no entry of it
_WITH = {"tools": ("tool_choice", "parallel_tool_calls"), "functions": ("function_call",)}  # asks for what has gone

# slug, endpoint, model where all lines of a part must have the same, where they go on, way
Group = tuple[str, str, str | None, int | None, str]


_UNMETERED = Meter(Allowance())  # nothing is, until it is entered


class TargetLane:
    """One target of the route with its adapter, for the lines of one endpoint. `listed`: models are allow-listed."""

    def __init__(self, spec: TargetSpec, endpoint: str, meter: Meter = _UNMETERED, *, listed: bool = False) -> None:
        self.spec = spec
        self._listed = listed or spec.models is not None
        self.endpoint = endpoint
        self._meter = meter
        self.provider: PureHalf = half(spec.provider, spec.way)
        self.one_model = self.provider.capabilities.one_model_per_job
        self._editor = BodyEditor(spec.changes) if spec.changes else None
        self._targets: dict[str | None, Target] = {None: Target(None, spec.drop_params, spec.strict_params)}
        self.plain = not (self._listed or spec.changes or spec.fetch_media or spec.fan_out)
        framing = self.provider.capabilities.framing
        most = None if spec.max_bytes is None else spec.max_bytes - len(framing.prefix) - len(framing.suffix)
        self._most_bytes = min((each for each in (most, spec.max_line_bytes) if each is not None), default=sys.maxsize)
        self._most_inputs = sys.maxsize if spec.max_inputs is None else spec.max_inputs

    def check(self, choice: Choice, chooser: Chooser) -> None:
        """Raise LineRejected for what needs no translation to be refused."""
        if self.endpoint not in self.provider.capabilities.endpoints:
            title = self.provider.capabilities.title
            calls = "no ordinary calls of" if self.spec.way == DIRECT else "no batch lane for"
            message = f"{title} has {calls} {self.endpoint}."
            raise LineRejected(message, code="unsupported_endpoint", param="url")
        if self.spec.models is not None and not allowed(self.spec.models, choice.model):
            named = ", ".join(self.spec.models[:_MODELS_NAMED])
            message = f"body.model is not in the allow-list of virtual key {self.spec.slug!r}; it allows: {named}."
            raise LineRejected(message, code=NOT_ALLOWED, param="body.model")
        if not chooser.admits(choice):
            message = "body.model is not in the allow-list of this API key; GET /models lists what it may use."
            raise LineRejected(message, code=NOT_ALLOWED, param="body.model")

    def edited(self, body: bytes) -> tuple[bytes, tuple[str, ...]]:
        """Return the body as the route wants it, and what was removed from it. Raises LineRejected."""
        if self._listed:
            _require_one_model(body)
        if self._editor is None:
            return body, ()
        try:
            return self._meter.run(len(body), self._editor.edit, body)
        except TooCostly as error:
            raise _too_costly(error) from None

    def translate(self, identity: str, body: bytes, model: str, own: str, *, metered: bool = True) -> Native:
        """Return the native line; `own` is the model that the body names.

        Raises LineRejected, which names all that is refused, or says that it takes too long, and ValueError for an
        adapter that would break the document. `metered`: not once more where it was quick enough a moment ago.
        """
        if not metered:
            return self._translate(identity, body, model, own)
        try:
            return self._meter.run(len(body), self._translate, identity, body, model, own)
        except TooCostly as error:
            raise _too_costly(error) from None

    def _translate(self, identity: str, body: bytes, model: str, own: str) -> Native:
        target = self.target(model, own)
        line, translate = LineIn(identity, self.endpoint, body, model), partial(self._record, target=target)
        try:
            return translate(line)
        except LineRejected as first:
            asking = Asking(line, self.provider.capabilities.framing.separator, translate, _whole_refusal)
            return asking.instead(first, fan_out=self.spec.fan_out)

    def _record(self, line: LineIn, target: Target) -> Native:
        native = self.provider.translate(line, target)
        if b"\n" in native.data:
            raise ValueError(f"the {self.spec.provider} adapter returned a line break within a line")
        return native

    def target(self, model: str, own: str) -> Target:
        """Return what the route says about a line whose body names the model `own`."""
        return self._target(model if self.spec.model is not None or model != own else None)

    def quickly(self, identity: str, body: bytes, model: str, target: Target) -> Native | None:
        """Return the native line of a `plain` lane; None where it is to be translated and measured with care.

        Raises LineRejected where that took too long to do it again.
        """
        try:
            line = LineIn(identity, self.endpoint, body, model)
            native = self._meter.run(len(body), self.provider.translate, line, target)
        except LineRejected:
            return None
        except TooCostly as error:
            raise _too_costly(error) from None
        fits = len(native.data) <= self._most_bytes and native.inputs <= self._most_inputs
        return native if fits and b"\n" not in native.data else None

    def _target(self, model: str | None) -> Target:
        found = self._targets.get(model)
        if found is None:
            if len(self._targets) >= _LANES_KEPT:
                self._targets = {None: self._targets[None]}
            found = self._targets[model] = Target(model, self.spec.drop_params, self.spec.strict_params)
        return found

    def measure(self, native: Native) -> None:
        """Raise LineRejected for a line that no job of this lane could carry."""
        framing = self.provider.capabilities.framing
        document = len(framing.prefix) + len(native.data) + len(framing.suffix)
        _compare(longest_of(native), self.spec.max_line_bytes, "bytes", "a line (max_line_bytes)")
        check_requests(native, self.spec.max_lines)
        _compare(document, self.spec.max_bytes, "bytes, framing included", "a job (max_bytes)")
        _compare(native.inputs, self.spec.max_inputs, "inputs", "a job (max_inputs)")

    def group(self, choice: Choice) -> Group:
        """Return what a line has in common with all that may share a part with it, but for its partition."""
        model = choice.model if self.one_model else None
        return self.spec.slug, self.endpoint, model, choice.then, self.spec.way


def _require_one_model(body: bytes) -> None:
    """Raise LineRejected where an allow-list may be asked about another model than the provider reads.

    JSON parsers differ over a key that occurs twice, and some match keys in any case (Go's `encoding/json`).
    """
    if len(_MODEL_KEY.findall(body)) < 2:
        return
    from proxy_plugin.providers.formats.members import members  # noqa: PLC0415 - not for the gateway's own process

    names = [key for key, _, _ in members(body) if key.lower() == "model"]
    if names != ["model"]:
        message = "body has 'model' twice, or also in another case; where models are allow-listed it is written once."
        raise LineRejected(message, code=NOT_ALLOWED, param="body.model")


class Lanes:
    """The lanes of one file's lines. Lines come in the order of the file: the choices depend on it."""

    def __init__(
        self,
        endpoint: str,
        targets: Sequence[TargetSpec],
        rules: Rules,
        rescue: Rescue | None = None,
        meter: Meter = _UNMETERED,
        before: int = 0,
    ) -> None:
        self._endpoint, self._mixed, self._meter = endpoint, is_mixed(endpoint), meter
        _begin_anew()
        self.chooser = Chooser(targets, rules, rescue, before)
        self._lanes: dict[tuple[int, int, str, str | None], TargetLane] = {}
        self._checked: dict[tuple[Choice, str], TargetLane] = {}

    def lane(self, choice: Choice, url: str) -> TargetLane:
        """Return the lane of a choice that has passed its checks. Raises LineRejected."""
        endpoint = url if self._mixed else self._endpoint
        lane = self._checked.get((choice, endpoint))
        if lane is None:
            lane = self._unchecked(choice, endpoint)
            lane.check(choice, self.chooser)
            if len(self._checked) >= _LANES_KEPT:
                self._checked.clear()
            self._checked[choice, endpoint] = lane
        return lane

    def _unchecked(self, choice: Choice, endpoint: str) -> TargetLane:
        key = (choice.target, choice.rule, endpoint, choice.way)
        lane = self._lanes.get(key)
        if lane is None:
            known = self.chooser.listed
            lane = self._lanes[key] = TargetLane(self.chooser.spec(choice), endpoint, self._meter, listed=known)
        return lane


def _begin_anew() -> None:
    """Let translators forget what the lines of an earlier file had in common: it may have been another workspace's."""
    from proxy_plugin.providers.formats.remembered import forget  # noqa: PLC0415 - not for the gateway's own process

    forget()


def same_place(first: Native, second: Native) -> Native:
    """Return the second translation of a line. Raises ValueError if it would not fit where the first one did."""
    if (len(first.data), first.inputs, first.partition) != (len(second.data), second.inputs, second.partition):
        raise ValueError("an adapter translated one line into different sizes or partitions")
    return second


def _too_costly(error: TooCostly) -> LineRejected:
    message = f"The translation of this line takes too long: {error}. Give it fewer or simpler members, or schemas."
    return LineRejected(message, code="line_too_complex", param="body")


def _compare(size: int, limit: int | None, unit: str, name: str) -> None:
    if limit is not None and size > limit:
        message = f"In this lane's own format the line has {size} {unit}; the limit of {name} is {limit}. Shorten it."
        raise LineRejected(message, code="line_too_large", param="body")


def _whole_refusal(first: LineRejected, line: LineIn, translate: Callable[[LineIn], Native]) -> LineRejected:
    """Return a refusal with the words and the `params` of all that `translate` refuses of the line.

    A translation ends at the first thing that it cannot go on without. So what was refused is taken out and the rest
    translated again, until nothing more is refused or what is refused cannot be taken out: a translation a parameter,
    and only lines that are refused pay it. Long lines have fewer tries.
    """
    most = min(_REFUSALS_TOLD, 1 + _BYTES_TRIED // max(len(line.body), 1))
    body, found, params = _read(line.body) if most > 1 else None, [first], dict.fromkeys(first.params)
    while body is not None and len(found) < most and _taken_out(body, found[-1].params):
        try:
            translate(structs.replace(line, body=_written(body)))
            break
        except LineRejected as another:
            if params.keys() >= set(another.params):
                break
            params |= dict.fromkeys(another.params)
            found.append(another)
    if len(found) == 1:
        return first
    message = " ".join(each.message for each in found)
    codes = {param: each.code for each in reversed(found) for param in each.params}
    return LineRejected(message, code=first.code, param=first.param, params=tuple(params), codes=codes)


def _read(text: bytes) -> _Body | None:
    for load in (orjson.loads, json.loads):  # half a surrogate pair is taken by the standard library alone
        with suppress(ValueError, RecursionError):
            body = load(text)
            return body if isinstance(body, dict) else None
    return None


def _written(body: _Body) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # as above
        return json.dumps(body).encode()


def _taken_out(body: _Body, params: tuple[str, ...]) -> bool:
    """Take out what can be; tell whether that is all of it: with the rest in place the same would be refused again."""
    taken = [_take_out(body, param) for param in params]
    return bool(taken) and all(taken)


def _take_out(body: _Body, param: str) -> bool:
    place = _PLACE.fullmatch(param.removeprefix("body."))
    if place is None:
        return False
    name, at, member, rest = place.groups()
    if at is not None:
        return not rest and _take_member(body.get(name), int(at), member)
    if name in _NEEDED:
        body[name], replaced = _NEEDED[name], name != "model"
        return replaced
    if name not in body:
        return False
    for each in (name, *_WITH.get(name, ())):
        body.pop(each, None)
    return True


def _take_member(entries: object, at: int, member: str | None) -> bool:
    """Take a member out of an entry of a list; the entry itself stays, for others are known by their numbers."""
    entry = entries[at] if isinstance(entries, list) and at < len(entries) else None
    if member is None or member in _FORMED or not isinstance(entry, dict):
        return False
    return entry.pop(member, entry) is not entry
