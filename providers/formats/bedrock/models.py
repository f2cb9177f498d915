"""Which family a Bedrock model id belongs to, what a batch job can do with it, and which form a line needs.

Sources: botocore 1.43.117 (forms of model ids and ARNs, Converse); Bedrock User Guide, "Process multiple prompts with
batch inference", "Supported models and model features", "Meta Llama models", "Mistral AI text completion", "Mistral AI
chat completion", "DeepSeek models", "OpenAI models"; Nova User Guide, "Request and response schema" (copies of 2026).
Output limits and image input of open models: public model tables of October 2026.

Bedrock does not look into a body before it runs it, so an InvokeModel body must be of the model's own format. Converse
is the same for every model ("Carry out a conversation with the Converse API"): a model that is not in the table runs by
it, and is taken for one that accepts all that Converse can say. What the service then refuses is not billed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.model_table import FOUND_LATELY, PrefixTable

Invocation = Literal["InvokeModel", "Converse"]

INVOKE: Invocation = "InvokeModel"
CONVERSE: Invocation = "Converse"
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:\d*:([a-z-]+)/(.+)")
_GEOGRAPHY = re.compile(r"[a-z]{2,6}(?:-[a-z]{2,6})?\.(?=[a-z0-9-]+\.)")
_REST = re.compile(r"(?![a-zA-Z0-9])")  # behind a prefix: the end, a version, never more of a name
# Behind a vendor's name; alone, the id of an inference profile of the account's own ("CreateModelInvocationJob").
_ID = re.compile(r"[a-z0-9-]+(?:\.[a-zA-Z0-9-]+)+(?:[.:/_][a-zA-Z0-9.:-]+)*|[a-z0-9]{12}")
# Provisioned models are not among them: "provisioned throughput" and batches exclude each other.
_RESOURCES = ("application-inference-profile", "imported-model", "custom-model", "custom-model-deployment",
              "prompt-router", "default-prompt-router")  # fmt: skip
# Models of the service that hold no conversation: embeddings, images, video, speech, ranking.
_NO_CHAT = re.compile(
    r"(?:[a-z0-9-]+\.)?(?:amazon\.(?:titan-embed|titan-image|nova-canvas|nova-reel|nova-sonic|nova-2-sonic|rerank"
    r"|nova-2-multimodal-embeddings)|cohere\.(?:embed|rerank)|stability\.|luma\.|twelvelabs\.marengo)"
)
# Keys may be written with escapes; then the body is read to be sure.
_TURN = re.compile(rb'"role"\s*:\s*"(?:user|assistant|tool|function)"')
_TOOLING = re.compile(rb'"(?:tools?|functions?|tool_calls|function_call)"|\\u00')


class Family(Enum):
    """Whose request format InvokeModel expects."""

    ANTHROPIC = "Anthropic Messages"
    NOVA = "Nova messages-v1"
    LLAMA3 = "Llama 3 prompt"
    LLAMA4 = "Llama 4 prompt"
    MISTRAL_TEXT = "Mistral text completion"
    MISTRAL_CHAT = "Mistral chat completion"
    DEEPSEEK_R1 = "DeepSeek-R1 prompt"
    OPENAI = "OpenAI chat completion"
    NONE = "none that is published"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One group of models. `prefixes` are ids without geography.

    `forms`, the preferred one first. InvokeModel is preferred where it says all that a chat body can, so that lines
    with and without tools share a job; Converse where a prompt would have to be built here.
    """

    prefixes: tuple[str, ...]
    family: Family
    forms: tuple[Invocation, ...] = (CONVERSE, INVOKE)
    max_tokens: int | None = None  # of one answer; None: not known, not checked
    default_max_tokens: int | None = None  # sent with InvokeModel where the service's default is short
    tools: bool = False  # in the InvokeModel form; Converse jobs refuse them for every model
    system: bool = True
    system_alone: bool = False  # in the InvokeModel form: a conversation of nothing else
    images: bool = False
    documents: bool = False  # in Converse and Nova messages
    result_documents: bool = True  # in the results of tools
    caching: bool = False
    json_schema: bool = False
    prefill: bool = False
    top_k: tuple[str, ...] = ()  # where Converse's additionalModelRequestFields take it
    efforts: tuple[str, ...] = ()  # levels of reasoning_effort
    extra: frozenset[str] = frozenset()  # parameters that additionalModelRequestFields take under OpenAI's names


class Found(NamedTuple):
    """A model: the id of its foundation model without geography, and its facts."""

    id: str
    facts: ModelFacts


class ModelTable(PrefixTable[ModelFacts]):
    """Facts by model id. `names` says which model stands behind an ARN that does not tell."""

    def __init__(self, records: Iterable[ModelFacts], names: Mapping[str, str] | None = None) -> None:
        super().__init__(records, _REST)
        self._names = dict(names or {})
        self._find_lately = lru_cache(maxsize=FOUND_LATELY)(self._find)

    def extended(self, *records: ModelFacts, names: Mapping[str, str] | None = None) -> ModelTable:
        """Return a table in which these go before the present ones.

        `names` maps an application-inference-profile, custom-model, imported-model or provisioned-model ARN to the id
        of the model behind it.
        """
        return ModelTable((*records, *self.records), {**self._names, **(names or {})})

    def find(self, name: str) -> Found:
        """Return a model by id, inference-profile id or ARN. Raises LineRejected for what can be none of Bedrock's."""
        found = self._find_lately(name)
        if isinstance(found, Found):
            return found
        raise LineRejected(f"model: {found}", code="model_not_found", param="model")

    def _find(self, name: str) -> Found | str:
        """Return the model, or why it cannot run."""
        own = self._names.get(name)
        bare = _bare(name if own is None else own)
        for known in (bare, _GEOGRAPHY.sub("", bare, count=1)):
            if facts := self.longest(known):
                return Found(known, facts)
        if _NO_CHAT.match(bare):
            return "this model holds no conversation; send the line to a chat model, or to the endpoint of embeddings"
        if _ID.fullmatch(bare) or bare.startswith("arn:"):
            return Found(bare, UNKNOWN)
        return "no batch of Bedrock's runs this; send a model's id such as us.amazon.nova-lite-v1:0, or its ARN"


def invocation(body: bytes, model: str, models: ModelTable | None = None) -> Invocation:
    """Return the type of job that a line needs: jobs have one type, so lines of different types never share one.

    "Records that include toolConfig fail with a 400 error" in Converse jobs (User Guide, 2026): a line with tools, or
    with calls of tools in its conversation, needs the model's own format. So does a line of system messages alone: a
    Converse conversation begins with the user. Raises LineRejected: there is no such model, or its own format has no
    tools.
    """
    facts = (models or MODELS).find(model).facts
    if facts.system_alone and not _TURN.search(body) and _only_system(_chat(body)):
        return INVOKE
    if facts.forms[0] == INVOKE or not _TOOLING.search(body) or not uses_tools(_chat(body)):
        return facts.forms[0]
    if INVOKE in facts.forms and facts.tools:
        return INVOKE
    raise tools_refused()


def uses_tools(chat: dict[str, Any]) -> bool:
    """Whether a chat body can bring forth a tool call, or holds one. `tool_choice: none` forbids new ones."""
    messages = chat.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and (
            message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("function_call")
        ):
            return True
    choice = chat.get("tool_choice") or chat.get("function_call")
    return bool(chat.get("tools") or chat.get("functions")) and choice != "none"


def _only_system(chat: dict[str, Any]) -> bool:
    """Whether a conversation holds system messages and nothing else."""
    messages = chat.get("messages")
    return isinstance(messages, list) and all(
        isinstance(message, dict) and message.get("role") in ("system", "developer") for message in messages
    )


def tools_refused() -> LineRejected:
    """Return the refusal of tools where no batch job can take them."""
    reason = "Bedrock's batch jobs take tools in a model's own format only, and this model's has none"
    message = (
        f"tools: {reason}, or is not known. Send the line to Claude, Nova, gpt-oss, Qwen or Mistral Large, or name "
        "the model behind this name under the key's model_names."
    )
    return LineRejected(message, code="unsupported_parameter", param="tools")


def _chat(body: bytes) -> dict[str, Any]:
    """Return the body, or nothing: what is no JSON object is refused by its translator."""
    try:
        chat = read(body)
    except ValueError:
        return {}
    return chat if isinstance(chat, dict) else {}


def _bare(name: str) -> str:
    """Return the model id in an ARN; other names, and an ARN that holds none, as they are; "" for what is no model."""
    arn = _ARN.fullmatch(name)
    if arn is None:
        return "" if name.startswith("arn:") else name
    if arn[1] in ("foundation-model", "inference-profile"):
        return arn[2]
    base = arn[2].rpartition("/")[0]  # custom-model/amazon.nova-lite-v1:0:300k/abcdef123456
    if arn[1] == "custom-model" and "." in base:
        return base
    return name if arn[1] in _RESOURCES else ""


_GPT_FIELDS = frozenset({"seed", "frequency_penalty", "presence_penalty", "logit_bias"})
_LEVELS = ("low", "medium", "high")
# What Claude accepts is in `anthropic.models`; Converse and InvokeModel take the same of it.
_CLAUDE = ModelFacts(
    ("anthropic.claude",),
    Family.ANTHROPIC,
    forms=(INVOKE, CONVERSE),
    tools=True,
    images=True,
    documents=True,
    caching=True,
    json_schema=True,
    prefill=True,
    top_k=("top_k",),
)
_NOVA = ModelFacts(
    ("amazon.nova-lite", "amazon.nova-pro", "amazon.nova-premier"),
    Family.NOVA,
    forms=(INVOKE, CONVERSE),
    max_tokens=10_000,
    tools=True,
    images=True,
    documents=True,
    caching=True,
    result_documents=False,
    prefill=True,
    top_k=("inferenceConfig", "topK"),
)
_NOVA_MICRO = replace(_NOVA, prefixes=("amazon.nova-micro",), images=False, documents=False)
_NOVA_2 = replace(
    _NOVA, prefixes=("amazon.nova-2-lite", "amazon.nova-2-pro", "amazon.nova-2-omni"), max_tokens=None, efforts=_LEVELS
)
# max_gen_len is 512 where it is not sent; every Llama 3 takes 2,048.
_LLAMA_3 = ModelFacts(("meta.llama3",), Family.LLAMA3, default_max_tokens=2048, max_tokens=8192, system_alone=True)
_LLAMA_3_X = replace(
    _LLAMA_3, prefixes=("meta.llama3-1", "meta.llama3-2-1b", "meta.llama3-2-3b", "meta.llama3-3"), documents=True
)
_LLAMA_3_VISION = replace(_LLAMA_3_X, prefixes=("meta.llama3-2-11b", "meta.llama3-2-90b"), images=True)
_LLAMA_4 = replace(
    _LLAMA_3_VISION,
    prefixes=("meta.llama4-scout", "meta.llama4-maverick"),
    family=Family.LLAMA4,
    default_max_tokens=8192,
)
# "Mistral AI text completion": no system role in the prompt; max_tokens is 512 for the 7B where it is not sent.
_MISTRAL_7B = ModelFacts(
    ("mistral.mistral-7b-instruct",),
    Family.MISTRAL_TEXT,
    max_tokens=8192,
    default_max_tokens=8192,
    system=False,
    documents=True,
    top_k=("top_k",),
)
_MIXTRAL = replace(_MISTRAL_7B, prefixes=("mistral.mixtral-8x7b-instruct",), max_tokens=4096, default_max_tokens=4096)
_MISTRAL_2402 = replace(
    _MISTRAL_7B, prefixes=("mistral.mistral-large-2402", "mistral.mistral-small-2402"), system=True, documents=False
)
_MISTRAL_LARGE = ModelFacts(
    ("mistral.mistral-large-2407",), Family.MISTRAL_CHAT, max_tokens=8192, tools=True, documents=True
)
_PIXTRAL = replace(_MISTRAL_LARGE, prefixes=("mistral.pixtral-large",), max_tokens=None, images=True)
_R1 = ModelFacts(
    ("deepseek.r1",),
    Family.DEEPSEEK_R1,
    max_tokens=32_768,
    default_max_tokens=32_768,
    documents=True,
    system_alone=True,
)
_OPEN = ModelFacts(
    (
        "qwen.qwen3",
        "deepseek.v3",
        "moonshot.kimi-k2",
        "moonshotai.kimi-k2",
        "moonshotai.kimi-k3",
        "minimax.minimax-m2",
        "zai.glm",
    ),
    Family.OPENAI,
    tools=True,
    json_schema=True,
    system_alone=True,
)
_OPEN_VISION = replace(
    _OPEN,
    prefixes=("qwen.qwen3-vl", "mistral.mistral-large-3", "mistral.ministral-3", "mistral.magistral"),
    images=True,
)
_DEVSTRAL = replace(_OPEN, prefixes=("mistral.devstral",))
_GPT_OSS = replace(_OPEN, prefixes=("openai.gpt-oss",), efforts=_LEVELS, extra=_GPT_FIELDS)
# No page shows their InvokeModel body, so their tools cannot be used in a batch.
_CONVERSE_ONLY = ModelFacts(
    ("ai21.jamba-1-5", "cohere.command-r", "writer.palmyra-x4", "writer.palmyra-x5"), Family.NONE, forms=(CONVERSE,)
)
# "Get validated JSON results from models" lists them; Gemma and the vision model of Nemotron look at images.
_WITH_SCHEMAS = replace(_CONVERSE_ONLY, prefixes=("nvidia.nemotron",), json_schema=True)
_SEEING = replace(_WITH_SCHEMAS, prefixes=("google.gemma-3", "nvidia.nemotron-nano-12b"), images=True)
# UNVERIFIED for each model, so nothing that Converse has a field for is refused here.
UNKNOWN = replace(_CONVERSE_ONLY, prefixes=(), images=True, documents=True, json_schema=True, prefill=True)
MODELS = ModelTable(
    (
        _CLAUDE, _NOVA, _NOVA_MICRO, _NOVA_2, _LLAMA_3, _LLAMA_3_X, _LLAMA_3_VISION, _LLAMA_4, _MISTRAL_7B, _MIXTRAL,
        _MISTRAL_2402, _MISTRAL_LARGE, _PIXTRAL, _R1, _OPEN, _OPEN_VISION, _DEVSTRAL, _GPT_OSS, _CONVERSE_ONLY,
        _WITH_SCHEMAS, _SEEING,
    )
)  # fmt: skip
