"""Members of a body that promise nothing about the answer: where a format has no place for one, it is left out.

What is here is left out and recorded without a switch; `strict_params` refuses it like any other loss. Paths are in the
caller's words and without numbers, as losses are recorded. Two kinds: wishes (a seed that OpenAI itself calls best
effort, marks for caches, bills and moderators, the detail of a picture), and what answers carry and callers send back
with the history: an answer must be able to return to the lane that gave it.
"""

from __future__ import annotations

from itertools import product

# "Chat completions" and "Responses" of OpenAI's API reference: labels, storage, caches and tiers; `prediction` speeds
# up an answer that it foresees; `reasoning_summary` is `reasoning.summary` on its way through a chat body.
_WISHES = frozenset(
    {
        *("seed", "user", "safety_identifier", "store", "metadata", "service_tier", "prediction", "reasoning_summary"),
        # A limit above the model's own asks for what happens anyway: the model's own is sent, and that is recorded.
        *("max_tokens", "max_completion_tokens"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_control", "tools.cache_control"),
    }
)
# In our own answers, in those of LiteLLM, OpenRouter and services that serve open models.
_ANSWERED = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "annotations", "citations", "images"),
    *("refusal", "native_finish_reason", "provider_specific_fields", "extra_content", "logprobs"),
)
_LABELS = ("name", "cache_control", "prompt_cache_breakpoint")
# What clients store beside a message and send with it: no model ever sees it (`parsed` is the OpenAI SDK's).
_STORED = (
    *("id", "object", "created", "created_at", "timestamp", "model", "usage", "finish_reason", "stop_reason"),
    *("status", "metadata", "parsed"),
)
_PLACES = {
    ("messages[]", "input[]"): (*_ANSWERED, *_LABELS, *_STORED),
    ("input[]",): ("summary", "content", "encrypted_content", "result"),  # of reasoning, and of images
    ("messages[].content[]", "input[].content[]", "input[].output[]"): (
        *_ANSWERED,
        *_LABELS,
        *("detail", "image_url.detail"),
    ),
    ("messages[].tool_calls[]", "messages[].tool_calls[].function", "messages[].function_call"): (
        *("provider_specific_fields", "extra_content", "cache_control"),
    ),
    ("tools[]", "tools[].function", "functions[]"): ("cache_control",),
}
HINTS = _WISHES | {f"{place}.{name}" for places, names in _PLACES.items() for place, name in product(places, names)}
