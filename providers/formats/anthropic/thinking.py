"""Thinking and effort of a line: OpenAI's `reasoning_effort`, Anthropic's own `thinking` and `output_config.effort`.

Sources: "Thinking", "Effort" and the migration guides of the Claude Platform docs (copies up to November 2026), types
of the official SDK 2.12. What single models accept is data: `anthropic.models`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy_plugin.providers.formats.anthropic.models import ALL_EFFORTS, LOW_TO_HIGH, ModelFacts, Off, Thinking
from proxy_plugin.providers.formats.anthropic.turns import Block, Turns
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import read_level

LEAST_BUDGET = 1024  # of thinking.budget_tokens, "Extended thinking"
# OpenAI names no numbers behind its words. Above 32,000 "diminishing returns", says "Extended thinking".
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_000, "max": 32_000}
OWN = frozenset({"thinking", "output_config"})
ASKING = OWN | {"reasoning_effort", "reasoning_summary"}
_KINDS = ("enabled", "adaptive", "disabled", "between_tools")
_DISPLAYS = ("summarized", "omitted")


@dataclass(frozen=True, slots=True)
class Thoughts:
    """What a line says of thinking, and what its model accepts. `forced`: its tool_choice forces a tool."""

    chat: Block
    facts: ModelFacts
    losses: Losses
    turns: Turns
    forced: bool

    def add(self, params: Block) -> bool:
        """Add `thinking` and the effort; return whether the model is told to think. Raises LineRejected."""
        self._add_own_effort(params)
        thinks = self._add_own(params) if self.chat.get("thinking") is not None else self._add_level(params)
        if self.chat.get("reasoning_summary") is not None:
            self._add_summary(params, thinks=thinks)
        return thinks

    def _add_level(self, params: Block) -> bool:
        """Translate `reasoning_effort`, which promises nothing about the answer: where it cannot be, it is a hint."""
        level = read_level(self.chat, BUDGETS)
        if level is None:
            return False
        if level == "none":
            self._add_off(params, "reasoning_effort")
            return False
        if conflict := self._conflict(params, budgets=self.facts.thinking is Thinking.BUDGET):
            self.losses.hint("reasoning_effort", conflict, "Send none")
            return False
        if self.facts.thinking is Thinking.BUDGET:
            params["thinking"] = {"type": "enabled", "budget_tokens": self._budget(params, level)}
        else:
            params["thinking"] = {"type": "adaptive"}
            self._add_effort(params, level)
        return True

    def _budget(self, params: Block, level: str) -> int:
        """Return the tokens of a level; half of the limit at most: the rest is for the answer."""
        budget: int = min(BUDGETS[level], max(LEAST_BUDGET, params["max_tokens"] // 2))
        if budget < BUDGETS[level]:
            reason = "half of the answer's limit is the most that goes to thinking"
            self.losses.hint("reasoning_effort", reason, "Send a higher max_completion_tokens", instead=budget)
        elif level == "max":
            self.losses.hint("reasoning_effort", "this model has no such level", "Send xhigh", instead="xhigh")
        return budget

    def _add_effort(self, params: Block, level: str) -> None:
        config = params.setdefault("output_config", {})
        if "effort" in config:
            if config["effort"] != level:
                self.losses.add("reasoning_effort", "output_config.effort says otherwise", "Send one of them")
            return
        config["effort"] = self._effort(level, "reasoning_effort")

    def _effort(self, level: str, param: str) -> str:
        """Return the model's word for a level, else the next lower one."""
        if level == "minimal":
            self.losses.hint(param, "Anthropic's lowest effort is low", "Send low", instead="low")
            level = "low"
        if level in self.facts.efforts:
            return level
        known = ", ".join(self.facts.efforts)
        highest = LOW_TO_HIGH[-1]
        note = self.losses.hint if param == "reasoning_effort" else self.losses.add  # a wish, or the provider's word
        note(param, "this model has no such level", f"Send one of {known}", instead=highest)
        return highest

    def _add_off(self, params: Block, param: str) -> None:
        if self.facts.off is Off.NEVER:
            self.losses.add(param, "this model always thinks", "Ask for a low effort")
        elif self.facts.off is not Off.UNSENT:
            params["thinking"] = {"type": self.facts.off.value}
            if self.facts.off is Off.BETWEEN_TOOLS:
                self.losses.hint(param, "this model thinks between tools", "Accept it", instead=self.facts.off.value)

    def _conflict(self, params: Block, *, budgets: bool) -> str | None:
        """Return why this line cannot have thinking; `budgets`: by a budget of tokens."""
        if self.facts.thinking is Thinking.NONE:
            return "this model has no thinking"
        if self.forced:
            return "thinking excludes a tool_choice that forces a tool"
        if self.turns.ends_with_assistant:
            return "thinking excludes a last message of the assistant's"
        if budgets and params["max_tokens"] <= LEAST_BUDGET:
            return f"thinking of this model needs max_completion_tokens above {LEAST_BUDGET}"
        if self.facts.thinking is Thinking.BUDGET and self.turns.ends_with_results:
            return "this model wants its signed thinking back with tool results, and a chat body has no place for it"
        return None

    def _add_own(self, params: Block) -> bool:
        """Hand on `thinking` in Anthropic's own words, as far as the model takes them."""
        given = self.chat["thinking"]
        kind = given.get("type") if isinstance(given, dict) else None
        if not isinstance(given, dict) or kind not in _KINDS:
            raise rejected("thinking.type", f"must be one of {', '.join(_KINDS)}")
        level = read_level(self.chat, BUDGETS)
        if kind in ("disabled", "between_tools"):
            self._add_own_off(params, given)
            if level not in (None, "none"):
                self.losses.add("reasoning_effort", "thinking says otherwise", "Send one of them")
            return False
        if given.get("display", "omitted") not in _DISPLAYS:
            raise rejected("thinking.display", f"must be one of {', '.join(_DISPLAYS)}")
        if kind == "enabled":
            self._check_budget(given, params)
        if conflict := self._conflict(params, budgets=kind == "enabled"):
            self.losses.add("thinking", conflict, "Remove it")
            return False
        self._add_kind(params, given, level)
        return "thinking" in params

    def _check_budget(self, given: Block, params: Block) -> None:
        budget = given.get("budget_tokens")
        if type(budget) is not int or budget < LEAST_BUDGET:
            raise rejected("thinking.budget_tokens", f"must be a whole number, at least {LEAST_BUDGET}")
        if budget >= params["max_tokens"]:
            raise rejected("thinking.budget_tokens", "must be below max_completion_tokens")

    def _add_kind(self, params: Block, given: Block, level: str | None) -> None:
        """Add the kind that was asked for, or the one that the model has."""
        adaptive = self.facts.thinking is Thinking.ADAPTIVE
        if given["type"] == "adaptive" and not adaptive:
            self.losses.add("thinking", "this model has no adaptive thinking", "Send enabled with budget_tokens")
            return
        if given["type"] == "enabled" and adaptive and not self.facts.budgets:
            reason = "this model takes no budget of thinking"
            self.losses.add("thinking.budget_tokens", reason, "Send thinking of type adaptive", instead="adaptive")
            given = {key: value for key, value in given.items() if key != "budget_tokens"} | {"type": "adaptive"}
        params["thinking"] = given
        if level in (None, "none"):
            return
        if adaptive:
            self._add_effort(params, str(level))
        else:
            self.losses.add("reasoning_effort", "thinking.budget_tokens says it", "Send one of them")

    def _add_own_off(self, params: Block, given: Block) -> None:
        if given["type"] == "disabled":
            self._add_off(params, "thinking")
        elif self.facts.off is Off.BETWEEN_TOOLS or not self.facts.prefixes:  # no prefixes: a model that is not known
            params["thinking"] = given
        else:
            self.losses.add("thinking", "this model has no thinking between tools alone", "Send adaptive or disabled")

    def _add_own_effort(self, params: Block) -> None:
        """Hand on `output_config` but for its format, which `requests` reads.

        UNVERIFIED whether models without adaptive thinking refuse an effort: theirs is handed on as it is.
        """
        config = self.chat.get("output_config")
        if config is None:
            return
        if not isinstance(config, dict):
            raise rejected("output_config", "must be an object", "invalid_type")
        made = {key: value for key, value in config.items() if key != "format" and value is not None}
        if "effort" in made:
            if made["effort"] not in ALL_EFFORTS:
                raise rejected("output_config.effort", f"must be one of {', '.join(ALL_EFFORTS)}")
            if self.facts.thinking is Thinking.ADAPTIVE:
                made["effort"] = self._effort(made["effort"], "output_config.effort")
        if made:
            params.setdefault("output_config", {}).update(made)

    def _add_summary(self, params: Block, *, thinks: bool) -> None:
        """Have the thoughts told that a Responses body asks for. Models with budgets tell them unasked."""
        if self.chat["reasoning_summary"] != "auto":
            self.losses.hint("reasoning_summary", "Anthropic has one kind of summary", "Send auto")
        if not thinks and self.facts.unasked and "thinking" not in params:
            params["thinking"] = {"type": "adaptive"}
            thinks = True
        if not thinks:
            self.losses.hint("reasoning_summary", "this model is not asked to think", "Send an effort")
        elif self.facts.thinking is Thinking.ADAPTIVE:
            params["thinking"] = {"display": "summarized", **params["thinking"]}
