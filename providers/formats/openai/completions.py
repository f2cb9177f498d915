"""A body of the older `/v1/completions` as a chat body, and a chat.completion as a text_completion.

Shapes: `completions.create`, `Completion` of OpenAI's SDK 3.52. The prompt becomes what the user says. A chat model
answers it where a completion model would have gone on writing: lanes should say so to their callers.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bodies import Block, leftovers, read_object
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.responses_answers import usage_of
from proxy_plugin.providers.formats.shapes import Answer, Translated

PROVIDER = "the chat API of this lane"
# The API's own default, "Completions" in OpenAI's API reference. Without it the same line could cost a thousand times
# as much.
DEFAULT_MAX_TOKENS = 16
_COPIED = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "seed", "stop", "user")
_TRANSLATED = frozenset({*_COPIED, "model", "prompt", "max_tokens", "stream_options"})
SAME: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "stream": (False,),
    "suffix": ("",),
}
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
NEVER = {
    "n": "this lane gives one answer to a request; repeat the line under other custom_ids",
    "best_of": "this lane gives one answer to a request; remove it",
    "echo": "a chat does not repeat its prompt; remove it",
    "logprobs": "this lane returns no log probabilities; remove it",
    "suffix": "a chat does not insert text; remove it, or ask for it in the prompt",
    "stream": "answers of a batch are not streamed; remove it",
}
_ENDS = ("stop", "length", "content_filter")


def to_chat(body: bytes, *, drop_params: bool, strict_params: bool = False) -> Translated:
    """Translate a completions body. Raises LineRejected, for any JSON object nothing else."""
    given = read_object(body, _COPIED)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    if not given.keys() <= _TRANSLATED:
        losses.add_unknown(leftovers(given, losses, same=SAME, never=NEVER), _TRANSLATED)
    chat: Block = {} if given.get("model") is None else {"model": given["model"]}
    chat["messages"] = [{"role": "user", "content": prompt_of(given.get("prompt"))}]
    limit = given.get("max_tokens")
    chat["max_tokens"] = DEFAULT_MAX_TOKENS if limit is None else limit
    chat.update((key, given[key]) for key in _COPIED if given.get(key) is not None)
    try:
        return Translated(write(chat), losses.settled())
    except ValueError as error:
        raise LineRejected(f"body is {error}", code="invalid_value", param="body") from None


def own_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return chat parameters, as a later step has dropped them, in the words of the completions body."""
    return tuple("prompt" if name.startswith("messages") else name for name in names)


def own_refusal(error: LineRejected, _body: bytes = b"") -> LineRejected:
    """Return a later step's refusal under the name that the caller used."""
    if not any(param.startswith("messages") for param in error.params):
        return error
    message = error.message
    for param in error.params:
        if param.startswith("messages"):
            message = message.replace(f"{param}: ", "prompt: ", 1)
    own = own_names(error.params)
    return LineRejected(message, code=error.code, param=own[0], params=own)


def to_text_completion(completion: bytes) -> Answer:
    """Translate a chat.completion. Raises ValueError: no JSON.

    Extensions beside OpenAI's fields, as in the completion: `refusal`, `reasoning_content`, `native_finish_reason` of
    the choice; `error` of an answer that the model spoiled.
    """
    given = read(completion)
    if not isinstance(given, dict):
        raise ValueError("not a completion")  # noqa: TRY004 - the contract's word for a corrupt row
    choices = given.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    created, model = given.get("created"), given.get("model")
    tokens = given.get("usage")
    name = model if isinstance(model, str) else ""
    answer = {
        **({"error": given["error"]} if isinstance(given.get("error"), dict) else {}),
        "id": given.get("id") if isinstance(given.get("id"), str) else "",
        "object": "text_completion",
        "created": created if type(created) is int else 0,
        "model": name,
        "choices": [_choice(choice)],
        "usage": tokens if isinstance(tokens, dict) else _no_tokens(),
    }
    return Answer(write(answer), usage_of(tokens), name)


def prompt_of(given: object) -> str:
    """Return the one text of a prompt. Raises LineRejected."""
    prompt = given[0] if isinstance(given, list) and len(given) == 1 else given
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(each, str) for each in prompt):
        raise rejected("prompt", "this lane takes one prompt a line; send a line for each", "unsupported_value")
    if isinstance(prompt, int | list) and prompt != []:
        raise rejected("prompt", "token numbers belong to OpenAI's models; send the text itself", "unsupported_value")
    raise rejected("prompt", "must be a text that is not empty, or a list of one", "invalid_type")


def _choice(choice: Block) -> Block:
    message = choice.get("message")
    said = message if isinstance(message, dict) else {}
    text, reason = said.get("content"), choice.get("finish_reason")
    found = {
        "text": text if isinstance(text, str) else "",
        "index": 0,
        "logprobs": None,
        "finish_reason": reason if reason in _ENDS else "stop",
    }
    more = {
        "refusal": said.get("refusal"),
        "reasoning_content": said.get("reasoning_content"),
        "native_finish_reason": choice.get("native_finish_reason"),
    }
    return found | {key: value for key, value in more.items() if isinstance(value, str) and value}


def _no_tokens() -> Block:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
