"""What each Claude model accepts, as far as a translation must know it.

Sources, Claude Platform docs as stored in October and November 2026: the model pages and migration guides of Opus 5,
Opus 5.5, Sonnet 5, Sonnet 5.5, Haiku 4.5, Haiku 5.5, Fable 5 and Fable 5.1 (output limits, thinking types, forced tool
use, sampling, prefill), "Effort" (levels), "Extended thinking", "Thinking" (what a model does unasked), "Structured
outputs", "Mid-conversation system messages" (not on Sonnet 5), "Handling stop reasons". Limits of retired models, and
system messages of the 5.5 models: public model tables of the same months.

A model that is not in the table is taken for one that accepts everything in its newest form: what is not known is not
refused here. The provider then answers with its own reason, and a row that it refuses is not billed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from proxy_plugin.providers.formats.model_table import ModelTable

_FAMILY = "claude-"
# Behind a name: a date, an alias or a cloud's version, never the number of a later model.
_REST = re.compile(r"(?:[-@](?:\d{8}|latest|default|v\d+)(?:[-@:].*)?|:.*)?\Z")
LOW_TO_HIGH = ("low", "medium", "high")
WITHOUT_XHIGH = (*LOW_TO_HIGH, "max")
ALL_EFFORTS = (*LOW_TO_HIGH, "xhigh", "max")


class Sampling(Enum):
    """Which of `temperature` and `top_p` may be set, under API version 2023-06-01."""

    BOTH = "both"
    ONE = "one"  # "`temperature` and `top_p` cannot both be specified for this model", since Opus 4.1
    DEFAULTS = "defaults"  # any other value than the default is a 400, since Opus 4.7


class Thinking(Enum):
    """How thinking is asked for."""

    NONE = "none"
    BUDGET = "budget"  # {"type": "enabled", "budget_tokens": N}
    ADAPTIVE = "adaptive"  # {"type": "adaptive"} and output_config.effort


class Off(Enum):
    """How a model is told not to think. The value is the `thinking.type` to send."""

    UNSENT = ""  # it does not think unless asked to
    DISABLED = "disabled"
    BETWEEN_TOOLS = "between_tools"
    NEVER = "never"  # it always thinks


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One group of models. `prefixes` are names without date and cloud decoration."""

    prefixes: tuple[str, ...]
    max_tokens: int | None  # of one answer, thinking included; None: not known, not checked
    default_max_tokens: int  # sent where the caller sets no limit: the API has no default
    sampling: Sampling
    thinking: Thinking
    off: Off
    efforts: tuple[str, ...] = ALL_EFFORTS
    forced_tools: bool = True  # tool_choice any or tool
    json_schema: bool = True  # output_config.format and strict tools
    prefill: bool = False  # an answer may begin with a last assistant message
    budgets: bool = True  # thinking.budget_tokens, where there is thinking
    unasked: bool = False  # thinks unless told otherwise
    late_system: bool = False  # system messages between others


def _bare(name: str) -> str:
    """Cut off how a cloud decorates a model's name."""
    return name[max(name.find(_FAMILY), 0) :]


# Without a limit of the caller's the answer may be as long as the model can make it, as with OpenAI. Models before 4.5
# refuse a request whose prompt and max_tokens together exceed the context window, so they get a smaller default.
_V3 = ModelFacts(
    ("claude-3-opus", "claude-3-sonnet", "claude-3-haiku"),
    max_tokens=4096,
    default_max_tokens=4096,
    sampling=Sampling.BOTH,
    thinking=Thinking.NONE,
    off=Off.UNSENT,
    json_schema=False,
    prefill=True,
)
_V3_5 = replace(_V3, prefixes=("claude-3-5-sonnet", "claude-3-5-haiku"), max_tokens=8192, default_max_tokens=8192)
_SONNET_4 = replace(
    _V3_5,
    prefixes=("claude-3-7-sonnet", "claude-sonnet-4", "claude-sonnet-4-0", "claude-4-sonnet"),
    max_tokens=64_000,
    thinking=Thinking.BUDGET,
    off=Off.DISABLED,
)
_OPUS_4 = replace(_SONNET_4, prefixes=("claude-opus-4", "claude-opus-4-0", "claude-4-opus"), max_tokens=32_000)
_OPUS_4_1 = replace(_OPUS_4, prefixes=("claude-opus-4-1",), sampling=Sampling.ONE)
_V4_5 = replace(
    _OPUS_4_1,
    prefixes=("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"),
    max_tokens=64_000,
    default_max_tokens=64_000,
    json_schema=True,
)
_V4_6 = replace(
    _V4_5,
    prefixes=("claude-sonnet-4-6", "claude-opus-4-6"),
    max_tokens=128_000,
    default_max_tokens=128_000,
    thinking=Thinking.ADAPTIVE,
    efforts=WITHOUT_XHIGH,
    prefill=False,
)
_V5 = replace(
    _V4_6,
    prefixes=("claude-opus-5", "claude-haiku-5-5"),
    sampling=Sampling.DEFAULTS,
    efforts=ALL_EFFORTS,
    budgets=False,
    unasked=True,
    late_system=True,
)
_SONNET_5 = replace(_V5, prefixes=("claude-sonnet-5",), late_system=False)
# One page says that 4.7 refuses "disabled"; these two do not think unless asked to, so nothing need be sent.
_V4_8 = replace(_V5, prefixes=("claude-opus-4-8",), off=Off.UNSENT, unasked=False)
_V4_7 = replace(_V4_8, prefixes=("claude-opus-4-7",), late_system=False)
_SONNET_5_5 = replace(_V5, prefixes=("claude-sonnet-5-5",), off=Off.BETWEEN_TOOLS, forced_tools=False)
_FABLE_5 = replace(_V5, prefixes=("claude-fable-5", "claude-mythos-5"), off=Off.NEVER)
_MYTHOS = replace(_FABLE_5, prefixes=("claude-mythos-preview",), efforts=WITHOUT_XHIGH, late_system=False)
_V5_5 = replace(
    _FABLE_5,
    prefixes=("claude-opus-5-5", "claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-5-2"),
    forced_tools=False,
)
UNKNOWN = ModelFacts((), None, 8192, Sampling.BOTH, Thinking.ADAPTIVE, Off.DISABLED, prefill=True, late_system=True)
MODELS = ModelTable(
    (
        *(_V3, _V3_5, _SONNET_4, _OPUS_4, _OPUS_4_1, _V4_5, _V4_6, _V4_7, _V4_8),
        *(_V5, _SONNET_5, _SONNET_5_5, _FABLE_5, _MYTHOS, _V5_5),
    ),
    UNKNOWN,
    rest=_REST,
    bare=_bare,
)
