"""What each Gemini model accepts, as far as a translation must know it.

Sources, Google's documentation as stored in August to November 2026: "Thinking" (budgets of 2.5), the developer's
guides of Gemini 3.5 Flash, 3.8 Flash and 4 Argon (levels, output limits), "Latest model" (sampling parameters that are
ignored since 3.5 Flash-Lite and 3.6 Flash, no `candidate_count` in 3.x), "Thought signatures", "OpenAI compatibility"
(words of effort as budgets). Refusals that no page names come from public issue threads: penalties (google-gemini
cookbook 1290), log probabilities (GoogleCloudPlatform generative-ai 2947), tools beside JSON (python-genai 867). Ids of
function calls: refused before 3.0 (LiteLLM 1.109). A last turn of the model's is refused since 3.5 Flash-Lite ("Latest
model"); media in the results of functions since Gemini 3 ("Multimodal function responses"), resolution by part since
Gemini 3 ("Media resolution", October 2026).

A model that is not in the table is taken for one that accepts everything in its newest form: what is not known is not
refused here. The provider then answers with its own reason, and a row that it refuses is not billed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from proxy_plugin.providers.formats.model_table import ModelTable

_NAME = re.compile(r"(?:gemini|gemma)-")
# Behind a name: a version, a preview's date, an alias, never the name of another model.
_REST = re.compile(r"(?:-\d{3})?(?:-(?:preview|exp))?(?:-\d\d-\d\d(?:\d\d)?)?(?:-customtools)?(?:@.*)?\Z")
THREE_LEVELS = ("low", "medium", "high")
FOUR_LEVELS = ("minimal", *THREE_LEVELS)


class Thinking(Enum):
    """How thinking is asked for."""

    NONE = "none"
    BUDGET = "thinkingBudget"  # a number of tokens
    LEVEL = "thinkingLevel"  # a word


class Homes(Enum):
    """Which of the two services takes a parameter for a model."""

    NEITHER = "neither"
    VERTEX = "vertex"
    BOTH = "both"

    def has(self, *, vertex: bool) -> bool:
        """Whether the service at hand is among them."""
        return self is Homes.BOTH or (vertex and self is Homes.VERTEX)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One group of models. `prefixes` are names without version, date and path."""

    prefixes: tuple[str, ...]
    max_tokens: int | None = 65_536  # of one answer, thinking included; None: not known, not checked
    thinking: Thinking = Thinking.LEVEL
    levels: tuple[str, ...] = THREE_LEVELS  # with Thinking.LEVEL
    budgets: tuple[int, int] = (0, 0)  # with Thinking.BUDGET: the least and the most that may be asked for
    off: bool = False  # whether thinking can be turned off
    sampling: bool = True  # temperature, top_p and top_k have an effect
    penalties: Homes = Homes.NEITHER
    logprobs: Homes = Homes.BOTH
    candidates: int = 1  # answers to one request
    tools_with_json: bool = True  # response_format beside tools
    call_ids: bool = True  # function calls and their results have ids
    signatures: bool = True  # a function call without its thought signature is refused
    prefill: bool = True  # a last turn of the model's is continued
    multimedia: bool = True  # images in the results of functions, and a resolution for each image
    paints: bool = False  # images of its own come back in the history


def _bare(name: str) -> str:
    """Cut off a path such as `publishers/google/models/`."""
    start = _NAME.search(name)
    return name[start.start() :] if start else name


_V2 = ModelFacts(
    ("gemini-2.0-flash", "gemini-2.0-flash-lite"),
    max_tokens=8192,
    thinking=Thinking.NONE,
    off=True,
    penalties=Homes.BOTH,
    candidates=8,
    tools_with_json=False,
    call_ids=False,
    signatures=False,
    multimedia=False,
)
_FLASH_2_5 = replace(
    _V2,
    prefixes=("gemini-2.5-flash",),
    max_tokens=65_536,
    thinking=Thinking.BUDGET,
    budgets=(1, 24_576),
    penalties=Homes.VERTEX,
    logprobs=Homes.VERTEX,  # "Logprobs is not enabled for models/gemini-2.5-flash", 400 of the Gemini API
)
_LITE_2_5 = replace(_FLASH_2_5, prefixes=("gemini-2.5-flash-lite",), budgets=(512, 24_576))
_PRO_2_5 = replace(_FLASH_2_5, prefixes=("gemini-2.5-pro",), budgets=(128, 32_768), off=False)
_IMAGE_2_5 = replace(
    _V2,
    prefixes=("gemini-2.5-flash-image",),
    max_tokens=32_768,
    penalties=Homes.NEITHER,
    logprobs=Homes.VERTEX,
    paints=True,
)
_PRO_3 = ModelFacts(("gemini-3-pro",), levels=("low", "high"))
_PRO_3_1 = replace(_PRO_3, prefixes=("gemini-3.1-pro",), levels=THREE_LEVELS)
_FLASH_3 = replace(_PRO_3, prefixes=("gemini-3-flash", "gemini-3.1-flash-lite"), levels=FOUR_LEVELS)
_FLASH_3_5 = replace(_FLASH_3, prefixes=("gemini-3.5-flash",), logprobs=Homes.NEITHER)
_LITE_3_5 = replace(_FLASH_3, prefixes=("gemini-3.5-flash-lite",), sampling=False, prefill=False)
_FLASH_3_6 = replace(_LITE_3_5, prefixes=("gemini-3.6-flash",), logprobs=Homes.NEITHER)  # 3.5 Flash is an alias of it
_FLASH_3_7 = replace(
    _LITE_3_5, prefixes=("gemini-3.7-flash", "gemini-3.8-flash", "gemini-3.8-flash-cyber"), levels=THREE_LEVELS
)
_ARGON_4 = replace(_FLASH_3_7, prefixes=("gemini-4-argon",), max_tokens=1_048_576)
UNKNOWN = ModelFacts(
    (), None, levels=(*FOUR_LEVELS, "xhigh"), off=True, penalties=Homes.BOTH, candidates=8, paints=True
)
MODELS = ModelTable(
    (
        _V2, _FLASH_2_5, _LITE_2_5, _PRO_2_5, _IMAGE_2_5, _PRO_3, _PRO_3_1, _FLASH_3, _FLASH_3_5, _LITE_3_5,
        _FLASH_3_6, _FLASH_3_7, _ARGON_4,
    ),
    UNKNOWN,
    rest=_REST,
    bare=_bare,
)  # fmt: skip
