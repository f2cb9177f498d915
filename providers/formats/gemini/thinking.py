"""How much a model is to think, and whether it shows its thoughts: Gemini's `thinkingConfig`.

Sources: "Thinking" and "OpenAI compatibility" of the Gemini API, 2026; types of google-genai 3.6. Three ways to ask:
OpenAI's `reasoning_effort` with `reasoning_summary` (`reasoning.summary` of a Responses body), LiteLLM's `thinking`,
and `extra_body.google.thinking_config`, Google's own name for it in chat bodies.
"""

from __future__ import annotations

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.gemini.models import ModelFacts, Thinking
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import flag, read_count, read_level

ASKS = frozenset({"reasoning_effort", "reasoning_summary", "thinking", "thinking_config"})
# "OpenAI compatibility" of the Gemini API for the first four; the others: the most that any model takes.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_SUMMARIES = ("auto", "concise", "detailed")
_THINKING = frozenset({"type", "budget_tokens"})
_OWN = frozenset({"thinking_budget", "thinking_level", "include_thoughts"})


def thinking_config(chat: Block, facts: ModelFacts, losses: Losses) -> Block:
    """Return `thinkingConfig`, empty where nothing need be said. Raises LineRejected."""
    asked = [key for key in ("reasoning_effort", "thinking", "thinking_config") if chat.get(key) is not None]
    if len(asked) > 1:
        raise rejected(_NAMES.get(asked[1], asked[1]), f"cannot stand beside {asked[0]}; send one of them")
    config: Block = {}
    if asked == ["thinking_config"]:
        config = _own(chat["thinking_config"], losses)
    elif asked == ["thinking"]:
        config = _budgeted(chat["thinking"], facts, losses)
    elif asked:
        config = _effort(read_level(chat, BUDGETS), facts, losses)
    if chat.get("reasoning_summary") is not None:
        _show(config, chat["reasoning_summary"], facts, losses)
    return config


def _show(config: Block, summary: object, facts: ModelFacts, losses: Losses) -> None:
    """Ask for the thoughts in the answer."""
    if summary not in _SUMMARIES:
        raise rejected("reasoning_summary", f"must be one of {', '.join(_SUMMARIES)}")
    if facts.thinking is Thinking.NONE or config.get("thinkingBudget") == 0:
        losses.hint("reasoning_summary", "there are no thoughts to be shown", "Remove it")
        return
    if summary != "auto":
        losses.hint("reasoning_summary", "Gemini has one form of summary", "Send auto", instead="auto")
    config["includeThoughts"] = True


def _effort(level: str | None, facts: ModelFacts, losses: Losses, name: str = "reasoning_effort") -> Block:
    """Return what a level comes to; `name` is the caller's parameter that asked for it."""
    if level is None:
        return {}
    if facts.thinking is Thinking.NONE:
        if level != "none":
            losses.hint(name, "this model has no thinking", "Send none")
        return {}
    if facts.thinking is Thinking.BUDGET:
        return {"thinkingBudget": _budget(level, facts, losses, name)}
    return {"thinkingLevel": _level(level, facts, losses, name).upper()}


def _budget(level: str, facts: ModelFacts, losses: Losses, name: str) -> int:
    """Return the tokens for thinking, within the model's bounds; the least stands for none where it must think."""
    least, most = facts.budgets
    if level == "none":
        if facts.off:
            return 0
        losses.add(name, "this model always thinks", "Send minimal", instead="minimal")
        return least
    budgets = {each: min(max(tokens, least), most) for each, tokens in BUDGETS.items() if each != "minimal"}
    budget = budgets["low" if level == "minimal" else level]
    twin = next(each for each, tokens in budgets.items() if tokens == budget)
    if twin != level:
        losses.hint(name, "this model has no such level of its own", f"Send {twin}", instead=twin)
    return budget


def _level(level: str, facts: ModelFacts, losses: Losses, name: str) -> str:
    """Return the model's word for a level, or the nearest one, which is noted; to think at all may be refused."""
    known = facts.levels
    if level in known:
        return level
    nearest = known[0] if level in ("none", "minimal") else known[-1]  # of low and high, medium is nearer the default
    remedy = f"Send one of {', '.join(known)}"
    if level == "none" and not facts.off:
        losses.add(name, "this model always thinks", remedy, instead=nearest)
    else:
        losses.hint(name, "this model has no such level", remedy, instead=nearest)
    return nearest


def _budgeted(given: object, facts: ModelFacts, losses: Losses) -> Block:
    """Read `{"type": "enabled", "budget_tokens": 1024}`, or disabled."""
    if not isinstance(given, dict) or given.get("type") not in ("enabled", "adaptive", "disabled"):
        raise rejected("thinking", "must be an object of type enabled, adaptive or disabled")
    losses.add_unknown(given, _THINKING, "thinking")
    if given["type"] == "disabled":
        return _effort("none", facts, losses, "thinking")
    if facts.thinking is Thinking.NONE:
        losses.add("thinking", "this model has no thinking", "Remove it")
        return {}
    tokens = read_count(given, "budget_tokens", 0)
    if tokens is None:
        return {"includeThoughts": True}
    least, most = facts.budgets
    if most and not least <= tokens <= most and not (tokens == 0 and facts.off):
        kept = min(max(tokens, least), most)
        losses.add("thinking.budget_tokens", f"this model takes {least} to {most}", f"Send {kept}", instead=kept)
        tokens = kept
    return {"thinkingBudget": tokens, "includeThoughts": True}


def _own(given: object, losses: Losses) -> Block:
    """Read Google's own object, which goes as it is."""
    path = "extra_body.google.thinking_config"
    if not isinstance(given, dict):
        raise rejected(path, "must be an object", "invalid_type")
    losses.add_unknown(given, _OWN, path)
    config: Block = {}
    if (budget := read_count(given, "thinking_budget", -1)) is not None:
        config["thinkingBudget"] = budget
    if (level := given.get("thinking_level")) is not None:
        if not isinstance(level, str):
            raise rejected(f"{path}.thinking_level", "must be a text", "invalid_type")
        config["thinkingLevel"] = level.upper()
    if flag(given.get("include_thoughts"), f"{path}.include_thoughts"):
        config["includeThoughts"] = True
    return config


_NAMES = {"thinking_config": "extra_body.google.thinking_config"}
