"""What the Messages API refuses in the `params` of one request. In a batch all of this comes as an `errored` row.

Rules: the project's reference page for Message Batches, and the request types of the SDK (2.11) that it names. Messages
are in the style of the service: the path of the member, then what is wrong with it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy_plugin.providers.sandbox.anthropic.errors import NEW, OLD

SAMPLING = ("temperature", "top_p", "top_k")
BETA_LONG_OUTPUT = "output-300k-2026-03-24"

_KNOWN = frozenset({
    *("model", "max_tokens", "messages", "system", "metadata", "stop_sequences", "stream", "thinking", "tool_choice"),
    *("tools", "service_tier", "output_config", "cache_control", "container", "inference_geo", "diagnostics"),
    *("user_profile_id", "workspace_id", "speed", *SAMPLING),
})  # fmt: skip
_NULLABLE = frozenset({"cache_control", "container", "diagnostics", "inference_geo", "speed"})
_TOOL = frozenset({
    *("name", "description", "input_schema", "strict", "type", "cache_control", "input_examples", "defer_loading"),
    *("allowed_callers", "eager_input_streaming"),
})  # fmt: skip
_EFFORTS = ("low", "medium", "high", "xhigh", "max")

# Models that know neither sampling parameters nor thinking budgets nor a prefilled answer, whatever the version.
_MODERN = re.compile(r"claude-(opus-4-[7-9]|opus-[5-9]|sonnet-[5-9]|haiku-[5-9]|fable)")
_ONE_SAMPLER = re.compile(r"claude-(opus|sonnet|haiku)-4-[1-9](?!\d)")  # temperature or top_p, not both


class ParamsError(ValueError):
    """The request ends as an error of this type."""

    def __init__(self, message: str, kind: str = "invalid_request_error") -> None:
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the create call and the options say about all of its requests; limits are in output tokens."""

    version: str = OLD
    betas: frozenset[str] = frozenset()
    max_output_tokens: int = 64_000
    model_output_tokens: Mapping[str, int] = field(default_factory=dict)
    unknown_models: frozenset[str] = frozenset()

    def output_limit(self, model: str) -> int:
        limit = self.model_output_tokens.get(model, self.max_output_tokens)
        return max(limit, 300_000) if BETA_LONG_OUTPUT in self.betas else limit


def modern(model: str) -> bool:
    return _MODERN.match(model) is not None


def check_params(params: Mapping[str, Any], rules: Rules) -> None:
    """Everything but the messages. Raises `ParamsError`."""
    check_object("", params, _KNOWN, ("model", "max_tokens", "messages"))
    for name, value in params.items():
        if value is None and name not in _NULLABLE:
            raise ParamsError(f"{name}: Input should not be null")
    model = check_text("model", params["model"])
    if not model.startswith("claude-") or model in rules.unknown_models:
        raise ParamsError(f"model: {model}", "not_found_error")
    _check_max_tokens(params["max_tokens"], rules.output_limit(model), model)
    if params.get("stream", False) is not False:
        raise ParamsError("stream: Input should be False in a batch")
    if params.get("speed") is not None:
        raise ParamsError("speed: not supported in a batch")
    _check_sampling(params, model, rules)
    _check_thinking(params, model)
    _check_tools(params)
    _check_stop_sequences(params.get("stop_sequences", []))
    _check_the_rest(params)


# Parts that the checks of messages use too.


def check_object(where: str, value: Any, known: Collection[str] | None, needed: Collection[str] = ()) -> None:
    """`known` None: any members may follow those that are `needed`."""
    if not isinstance(value, Mapping):
        raise ParamsError(f"{where}: Input should be an object")
    prefix = f"{where}." if where else ""
    for name in needed:
        if name not in value:
            raise ParamsError(f"{prefix}{name}: Field required")
    for name in value:
        if known is not None and name not in known:
            raise ParamsError(f"{prefix}{name}: Extra inputs are not permitted")


def check_text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ParamsError(f"{where}: Input should be a valid string")
    return value


def check_list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ParamsError(f"{where}: Input should be a valid list")
    return value


def check_choice(where: str, value: Any, choices: Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(f"'{choice}'" for choice in choices)
        raise ParamsError(f"{where}: Input should be {words}")
    return value


def check_integer(where: str, value: Any, least: int) -> int:
    if type(value) is not int:
        raise ParamsError(f"{where}: Input should be a valid integer")
    if value < least:
        raise ParamsError(f"{where}: Input should be greater than or equal to {least}")
    return value


def check_cache_control(where: str, block: Mapping[str, Any]) -> None:
    if (mark := block.get("cache_control")) is None:
        return
    check_object(f"{where}cache_control", mark, ("type", "ttl"), ("type",))
    check_choice(f"{where}cache_control.type", mark["type"], ("ephemeral",))
    check_choice(f"{where}cache_control.ttl", mark.get("ttl", "5m"), ("5m", "1h"))


# The members of params.


def _check_max_tokens(value: Any, limit: int, model: str) -> None:
    if check_integer("max_tokens", value, 1) > limit:
        what = f"{value} > {limit}, which is the maximum allowed number of output tokens for {model}"
        raise ParamsError(f"max_tokens: {what}")


def _check_sampling(params: Mapping[str, Any], model: str, rules: Rules) -> None:
    given = [name for name in SAMPLING if name in params]
    for name in given:
        if rules.version == NEW:
            raise ParamsError(f"{name}: Extra inputs are not permitted")
        if modern(model):
            raise ParamsError(f"`{name}` is deprecated for this model.")
    for name in given:
        value, least = params[name], 0
        if name == "top_k":
            check_integer(name, value, least)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ParamsError(f"{name}: Input should be a valid number")
        elif not 0 <= value <= 1:
            raise ParamsError(f"{name}: range: 0..1")
    if {"temperature", "top_p"} <= set(given) and _ONE_SAMPLER.match(model):
        raise ParamsError("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def _check_thinking(params: Mapping[str, Any], model: str) -> None:
    if (thinking := params.get("thinking")) is None:
        return
    check_object("thinking", thinking, ("type", "budget_tokens", "display"), ("type",))
    kind = check_choice("thinking.type", thinking["type"], ("enabled", "adaptive", "disabled", "between_tools"))
    if kind == "enabled":
        if modern(model):
            raise ParamsError("thinking.type: 'enabled' is not supported for this model. Use 'adaptive'.")
        check_object("thinking", thinking, None, ("budget_tokens",))
        if check_integer("thinking.budget_tokens", thinking["budget_tokens"], 1024) >= params["max_tokens"]:
            raise ParamsError("`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif "budget_tokens" in thinking:
        raise ParamsError("thinking.budget_tokens: Extra inputs are not permitted")
    if thinking.get("display") is not None:
        check_choice("thinking.display", thinking["display"], ("summarized", "omitted"))


def _check_tools(params: Mapping[str, Any]) -> None:
    names = [_check_tool(f"tools.{n}", tool) for n, tool in enumerate(check_list("tools", params.get("tools", [])))]
    if len(set(names)) < len(names):
        raise ParamsError("tools: Tool names must be unique.")
    if (choice := params.get("tool_choice")) is None:
        return
    if not names:
        raise ParamsError("tool_choice: may only be specified while providing `tools`")
    check_object("tool_choice", choice, ("type", "name", "disable_parallel_tool_use"), ("type",))
    kind = check_choice("tool_choice.type", choice["type"], ("auto", "any", "tool", "none"))
    if kind == "tool" and choice.get("name") not in names:
        raise ParamsError("tool_choice.name: must be the name of one of the `tools`")
    for name, kinds in (("name", {"tool"}), ("disable_parallel_tool_use", {"auto", "any", "tool"})):
        if name in choice and kind not in kinds:
            raise ParamsError(f"tool_choice.{name}: Extra inputs are not permitted")
    if type(choice.get("disable_parallel_tool_use", False)) is not bool:
        raise ParamsError("tool_choice.disable_parallel_tool_use: Input should be a valid boolean")
    thinks = (params.get("thinking") or {}).get("type") in {"enabled", "adaptive"}
    if kind in {"any", "tool"} and thinks:
        raise ParamsError("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tool(where: str, tool: Any) -> str:
    """A tool of the client's own in full; of the service's tools, which have a dated type, only the name."""
    check_object(where, tool, None, ("name",))
    name = check_text(f"{where}.name", tool["name"])
    if tool.get("type") in {None, "custom"}:
        check_object(where, tool, _TOOL, ("input_schema",))
        check_object(f"{where}.input_schema", tool["input_schema"], None, ("type",))
        check_choice(f"{where}.input_schema.type", tool["input_schema"]["type"], ("object",))
        check_text(f"{where}.description", tool.get("description", ""))
    if not name:
        raise ParamsError(f"{where}.name: String should have at least 1 character")
    check_cache_control(f"{where}.", tool)
    return name


def _check_stop_sequences(value: Any) -> None:
    for number, sequence in enumerate(check_list("stop_sequences", value)):
        if not check_text(f"stop_sequences.{number}", sequence).strip():
            raise ParamsError("stop_sequences: each stop sequence must contain non-whitespace")


def _check_the_rest(params: Mapping[str, Any]) -> None:
    if "metadata" in params:
        check_object("metadata", params["metadata"], ("user_id",))
        if params["metadata"].get("user_id") is not None:
            check_text("metadata.user_id", params["metadata"]["user_id"])
    if "service_tier" in params:
        check_choice("service_tier", params["service_tier"], ("auto", "standard_only"))
    if "output_config" in params:
        _check_output_config(params["output_config"])
    check_cache_control("", params)


def _check_output_config(config: Any) -> None:
    check_object("output_config", config, ("effort", "format"))
    if config.get("effort") is not None:
        check_choice("output_config.effort", config["effort"], _EFFORTS)
    if (form := config.get("format")) is not None:
        check_object("output_config.format", form, ("type", "schema"), ("type", "schema"))
        check_choice("output_config.format.type", form["type"], ("json_schema",))
        check_object("output_config.format.schema", form["schema"], None)
