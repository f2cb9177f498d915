"""The endpoints that a batch may be created for: one as at OpenAI, and ours, several or `auto`."""

from __future__ import annotations

from proxy_plugin.ground import sentences

AUTO = "auto"
ENDPOINTS = (  # OpenAI's description, commit f85dbe2, 2026-08-21: CreateBatchRequest.endpoint
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
    "/v1/messages",
    "/v1beta/generateContent",
    "/model/invoke",
    "/v2/chat",
    "/v2/embed",
    "/v1/rerank",
)
# The last is nobody's batch but by ordinary calls, in the form that litellm gives it.
# Of those: bodies in a lane's own shape (`Capabilities.native`), not OpenAI's; and the member that holds one inline.
# Those whose member is `body` have to be named, by the request or by the create.
NATIVE = {
    "/v1/messages": "params",
    "/v1beta/generateContent": "request",
    "/model/invoke": "modelInput",
    "/v2/chat": "body",
    "/v2/embed": "body",
}
# Bodies in OpenAI's shape that an inline request holds one level deeper, in `batch_request`, under one of these names.
WRAPPED = {"chat_get_completion": "/v1/chat/completions", "responses": "/v1/responses"}


def asked_endpoint(value: object) -> str:
    """Return a create's `endpoint` as it is stored: one of ENDPOINTS, `auto`, or several joined by commas.

    Raises BadRequest, with the endpoints that there are.
    """
    if value == AUTO:
        return AUTO
    if isinstance(value, str):
        _check(value)
        return value
    if not isinstance(value, list):
        raise sentences.wrong_type("endpoint", "one of a string or array of strings", value).refusal()
    if not value:
        raise sentences.empty_array("endpoint").refusal()
    for each in value:
        _check(each)
    return ",".join(dict.fromkeys(value))


def _check(value: object) -> None:
    if not isinstance(value, str):
        raise sentences.wrong_type("endpoint", "one of a string or array of strings", value).refusal()
    if value not in ENDPOINTS:
        more = f"For a file that mixes endpoints send a list of these, or '{AUTO}'."
        raise sentences.wrong_value("endpoint", value, ENDPOINTS).refusal(more)


def is_mixed(endpoint: str) -> bool:
    """Tell whether lines of a batch may have different urls, so that each goes by its own."""
    return endpoint == AUTO or "," in endpoint


def takes_native(endpoint: str) -> bool:
    """Tell whether lines of a batch may have bodies in a lane's own shape, by its stored `endpoint`."""
    return not NATIVE.keys().isdisjoint(served(endpoint))


def served(endpoint: str) -> tuple[str, ...]:
    """Return the urls that the lines of a batch may have, by its stored `endpoint`."""
    return ENDPOINTS if endpoint == AUTO else tuple(endpoint.split(","))
