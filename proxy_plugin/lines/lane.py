"""The account that a line goes to, with the adapter of its provider: what it refuses, changes and translates."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_plugin.lines.body_changes import BodyEditor
from proxy_plugin.lines.choose import Choice, Chooser, TargetSpec
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, LineIn, LineRejected, Native, Target
from proxy_plugin.routing.endpoints import is_mixed
from proxy_plugin.routing.route import NOT_ALLOWED, Rules, allowed

_MODELS_NAMED = 10
_LANES_KEPT = 10_000  # choices whose lane is remembered

Group = tuple[str, str, str | None]  # slug, endpoint, model where all lines of a part must have the same


class TargetLane:
    """One target of the route with its adapter, for the lines of one endpoint."""

    def __init__(self, spec: TargetSpec, endpoint: str) -> None:
        self.spec = spec
        self.endpoint = endpoint
        self.provider: BatchProvider = catalog.load(spec.provider)
        self.one_model = self.provider.capabilities.one_model_per_job
        self._editor = BodyEditor(spec.changes) if spec.changes else None
        self._targets: dict[str | None, Target] = {None: Target(None, spec.drop_params, spec.strict_params)}

    def check(self, choice: Choice, chooser: Chooser) -> None:
        """Raise LineRejected for what needs no translation to be refused."""
        if self.endpoint not in self.provider.capabilities.endpoints:
            title = self.provider.capabilities.title
            message = f"{title} has no batch lane for {self.endpoint}."
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
        return (body, ()) if self._editor is None else self._editor.edit(body)

    def translate(self, identity: str, body: bytes, model: str, own: str) -> Native:
        """Return the native line; `own` is the model that the body names.

        Raises LineRejected, and ValueError for an adapter that would break the document.
        """
        target = self._target(model if self.spec.model is not None or model != own else None)
        native = self.provider.translate(LineIn(identity, self.endpoint, body, model), target)
        if b"\n" in native.data:
            raise ValueError(f"the {self.spec.provider} adapter returned a line break within a line")
        return native

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
        size = len(native.data)
        document = len(framing.prefix) + size + len(framing.suffix)
        _compare(size, self.spec.max_line_bytes, "bytes", "a line (max_line_bytes)")
        _compare(document, self.spec.max_bytes, "bytes, framing included", "a job (max_bytes)")
        _compare(native.inputs, self.spec.max_inputs, "inputs", "a job (max_inputs)")

    def group(self, model: str) -> Group:
        """Return what a line has in common with all that may share a part with it, but for its partition."""
        return self.spec.slug, self.endpoint, model if self.one_model else None


class Lanes:
    """The lanes of one file's lines. Lines come in the order of the file: the choices depend on it."""

    def __init__(self, endpoint: str, targets: Sequence[TargetSpec], rules: Rules) -> None:
        self._endpoint, self._mixed = endpoint, is_mixed(endpoint)
        self.chooser = Chooser(targets, rules)
        self._lanes: dict[tuple[int, int, str], TargetLane] = {}
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
        key = (choice.target, choice.rule, endpoint)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = TargetLane(self.chooser.spec(choice), endpoint)
        return lane


def _compare(size: int, limit: int | None, unit: str, name: str) -> None:
    if limit is not None and size > limit:
        message = f"In this lane's own format the line has {size} {unit}; the limit of {name} is {limit}. Shorten it."
        raise LineRejected(message, code="line_too_large", param="body")
