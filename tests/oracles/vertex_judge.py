"""Vertex: what differs from litellm's there."""

from __future__ import annotations

from tests.oracles import anthropic_judge, bedrock_judge, gemini_judge
from tests.oracles.bedrock_answers import models
from tests.oracles.meaning import Known, Pair

PAGE = "Google Cloud docs, Batch predictions with Claude"


def schemas(pair: Pair) -> None:
    """Take the schema of the answer out: litellm makes a tool of it where it takes the model to have no schemas."""
    tools = pair.theirs.get("tools", ())
    if "format" in pair.ours.get("output_config", {}) and bedrock_judge.JSON_TOOL in [tool["name"] for tool in tools]:
        bedrock_judge.drop_json_tool(pair)
        pair.ours["output_config"] = {key: each for key, each in pair.ours["output_config"].items() if key != "format"}
        if not pair.ours["output_config"]:
            del pair.ours["output_config"]
        if not pair.given.get("tools"):  # of calls without tools: beside a tool of its own litellm declares no dummy
            pair.ours = {key: each for key, each in pair.ours.items() if key not in ("tools", "tool_choice")}


_NOT_CLAUDE = ("sampling of value 1 is not sent",)
CLAUDE: tuple[Known, ...] = (
    *(each for each in anthropic_judge.REQUESTS if each.name not in _NOT_CLAUDE),
    Known("the limit that is not given", "the model's own; litellm sends 4096", PAGE, bedrock_judge.limits),
    Known("a limit above the model's", "capped and recorded", PAGE, bedrock_judge.capped),
    Known(
        "schemas on models without them", "left out and recorded; litellm makes a tool", PAGE, bedrock_judge.json_tools
    ),
    Known("schemas on models with them", "litellm makes a tool", PAGE, schemas),
)
CLAUDE_ANSWERS: tuple[Known, ...] = (
    *anthropic_judge.ANSWERS,
    Known("the model is the answer's", "litellm writes that of the call", PAGE, models),
)
_NOT_GEMINI = ("pictures by URL", "penalties", "how many log probabilities", "log probabilities of 2.5")
GEMINI: tuple[Known, ...] = tuple(each for each in gemini_judge.REQUESTS if each.name not in _NOT_GEMINI)
