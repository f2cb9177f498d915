"""Every code that a client can meet: what it means and what to do. `docs/errors.md` is made from this.

A test finds all codes in the source and requires them here; what a provider says of its own accord is passed on as it
came and cannot be listed.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One code. `statuses` are those of HTTP answers, none where it is met in a file or a batch; `code` None: null."""

    code: str | None
    meaning: str
    remedy: str
    statuses: tuple[int, ...] = ()


ANSWERS = (
    Code(
        None,
        "The request, or one of its fields (`param` names it), is not what the route takes; the thing that it names is "
        "not in your workspace; there is no such route or method; the batch to be cancelled has ended; or a time limit "
        "of the request's own has passed.",
        "Read `message`: it says what is expected.",
        (400, 404, 405, 408, 409, 417, 422),
    ),
    Code(
        "batch_not_ended", "This is known of a batch that has ended, and this one has not.", "Ask again later.", (409,)
    ),
    Code(
        "conflict",
        "The state of the thing does not allow this.",
        "Look at its state first. The same request will get the same answer.",
        (409,),
    ),
    Code("empty_array", "A list that needs an entry has none.", "Send at least one.", (400,)),
    Code("empty_file", "The uploaded file has no byte.", "Upload a file with one request a line.", (400,)),
    Code("empty_string", "A text that may not be empty is.", "Send the field that `param` names.", (400,)),
    Code(
        "gateway_failed",
        "Inside LiteLLM: the gateway ended before it answered, and is started again.",
        "Send the request again; a create that went through is found by its `Idempotency-Key`, or by its retry count.",
        (502,),
    ),
    Code(
        "gateway_starting",
        "Inside LiteLLM: the gateway did not listen within 15 seconds.",
        "Send the request again; if that goes on, its log says why.",
        (503,),
    ),
    Code(
        "idempotency_key_reused",
        "The `Idempotency-Key` came with another request in the last 24 hours.",
        "Use a new key for a new request.",
        (422,),
    ),
    Code(
        "input_file_gone",
        "The input file of the batch to be retried, or the record of its lines, was deleted or has expired.",
        "Upload it and create a new batch.",
        (409,),
    ),
    Code(
        "insufficient_storage",
        "The gateway's disk or the workspace's quota is full; nothing was kept.",
        "Delete files that are not needed, or ask the operator.",
        (507,),
    ),
    Code("integer_above_max_value", "A number is too large.", "The message names the largest.", (400,)),
    Code("integer_below_min_value", "A number is too small.", "The message names the smallest.", (400,)),
    Code(
        "internal_error",
        "The gateway met an error of its own, or found a stored file damaged.",
        "Tell the operator the `x-request-id` of the answer; the log has the rest.",
        (500,),
    ),
    Code(
        "invalid_api_key",
        "No gateway key came, or an unknown one; or the provider did not take the key that it was called with.",
        "Send a key of this gateway as `x-portkey-api-key`. A key of your own goes into `Authorization`.",
        (401,),
    ),
    Code(
        "invalid_config",
        "`x-portkey-config` is neither a usable config nor the id of a saved one; the message has the path.",
        "Correct what the message names.",
        (400,),
    ),
    Code(
        "invalid_custom_host",
        "The provider's address may not be called: it is private, reserved or no web address.",
        "Use a public host, or ask the operator to allow it.",
        (400,),
    ),
    Code(
        "invalid_gzip",
        "The body is not the gzip stream that its `Content-Encoding` promises, or ends early.",
        "Send it again, whole; or without `Content-Encoding`.",
        (400,),
    ),
    Code(
        "invalid_input_file",
        "The batch failed because of its file, so it has no lines to retry.",
        "Correct the file as the batch's `errors` say, upload it and create a new batch.",
        (400,),
    ),
    Code(
        "invalid_type",
        "A field has a value of another type.",
        "The message says which type is expected.",
        (400,),
    ),
    Code("invalid_value", "A field has a value that is none of its own.", "The message lists them.", (400,)),
    Code(
        "invalid_virtual_key",
        "The gateway has no virtual key of this name.",
        "Correct the slug in `x-portkey-provider`, `x-portkey-virtual-key`, the config or the model.",
        (400,),
    ),
    Code(
        "invalid_webhook_url",
        "What is to be told by webhook is no URL that may be called.",
        "The message says why. A private host has to be listed by the operator, in `server.webhooks_hosts`.",
        (400,),
    ),
    Code(
        "key_not_checked",
        "The key is none of this gateway's own, and the upstream, which may know it, does not answer.",
        "Try again in a moment.",
        (503,),
    ),
    Code("missing_required_parameter", "A field of the body is missing.", "Send the field that `param` names.", (400,)),
    Code(
        "model_not_found", "You can reach no model of this name.", "`GET /v1/models` lists those that you can.", (404,)
    ),
    Code("no_lines", "The batch failed before any line was sent.", "Its `errors` say why.", (409,)),
    Code(
        "nothing_to_retry",
        "No line failed, or has the outcome, or only such as the provider refuses by themselves and would again.",
        "Correct the lines that the message names, or name another target or other `lines`.",
        (400,),
    ),
    Code("object_above_max_properties", "`metadata` has more than 16 pairs.", "Send fewer.", (400,)),
    Code(
        "own_key_not_shared",
        "The gateway has replicas and no `secrets.seal_key`, so the provider key that you bring cannot be shared.",
        "Name a virtual key, or ask the operator for a seal key.",
        (403,),
    ),
    Code(
        "permission_denied",
        "Your key may not do this, or not with this virtual key; or the provider forbids it.",
        "Use another virtual key, or ask the operator.",
        (403,),
    ),
    Code("property_name_above_max_length", "A key of `metadata` is too long.", "Send a shorter one.", (400,)),
    Code(
        "provider_failed",
        "The provider cannot be reached, failed, or did not answer in time; nothing was done.",
        "Try again later.",
        (502, 504),
    ),
    Code("provider_key_mismatch", "Another provider key stored this file.", "Send the key of the upload.", (400,)),
    Code(
        "provider_key_missing",
        "The request names a provider and brings no key for it.",
        "Send the provider's key in `Authorization` and the gateway's in `x-portkey-api-key`, or use a virtual key.",
        (400,),
    ),
    Code(
        "provider_outcome_unknown",
        "The provider gave no clear answer: it may have done what was asked.",
        "Look before you repeat it.",
        (502, 504),
    ),
    Code(
        "provider_refused",
        "The provider does not open a websocket; the status of the answer is its own.",
        "Look at the model, and at the key of the account.",
        (400, 401, 403, 404, 429, 502),
    ),
    Code(
        "purpose_not_offered",
        "This provider keeps no files with this purpose.",
        "The message lists the purposes that it has.",
        (400,),
    ),
    Code(
        "range_not_satisfiable", "The range begins behind the end of the file.", "`Content-Range` has the size.", (416,)
    ),
    Code(
        "rate_limit_exceeded",
        "Too many uploads or plans, or requests of one workspace, run at once, or the provider asks for a pause.",
        "Wait as long as `Retry-After` says, or a few seconds.",
        (429,),
    ),
    Code(
        "request_timeout",
        "The request, its headers or its body, did not come in time or came too slowly; nothing was done.",
        "Send the request again; over a slow line send a large file in parts (`POST /v1/uploads`).",
        (408,),
    ),
    Code(
        "request_too_large",
        "The body, the file or a part is beyond a limit, or a gzip body unpacks to far more than itself.",
        "The message names the limit: split the file, or use the Uploads API.",
        (413,),
    ),
    Code(
        "storage_away",
        "The gateway's database or its object store cannot be reached; nothing was done, or `message` says that this "
        "is not known.",
        "Try again after the seconds in `Retry-After`.",
        (503,),
    ),
    Code("string_above_max_length", "A text is too long.", "The message names the longest.", (400,)),
    Code(
        "too_many_batches",
        "The workspace has as many batches that have not ended as it may (`limits.max_open_batches`).",
        "Wait for some of them to end, or cancel them.",
        (429,),
    ),
    Code(
        "too_many_files",
        "The workspace keeps as many files as it may, parts of uploads included (`limits.max_workspace_files`).",
        "Delete files that are not needed.",
        (429,),
    ),
    Code(
        "too_many_webhooks",
        "The workspace has as many webhook endpoints as it may.",
        "Delete one that is not needed.",
        (429,),
    ),
    Code(
        "unavailable",
        "The gateway is stopping, or the file is still being checked; nothing was done.",
        "Try again in a moment.",
        (503,),
    ),
    Code(
        "unknown_parameter",
        "The request says where lines are to run in a word that is not served.",
        "Say it in `x-portkey-provider`, `x-portkey-virtual-key` or `x-portkey-config`, as a header or in "
        "`portkey_options`.",
        (400,),
    ),
    Code(
        "unsupported_content_encoding",
        "The body comes in an encoding other than gzip, or in several.",
        "Send it plain or as gzip.",
        (415,),
    ),
    Code("upload_idle", "Nothing came for two minutes; nothing was kept.", "Send the file again.", (408,)),
    Code("upload_not_pending", "The upload is completed, cancelled or expired.", "Create another upload.", (400,)),
    Code(
        "upstream_failed", "What this gateway stands in front of cannot be reached.", "Tell the operator.", (502, 504)
    ),
    Code(
        "upstream_refused",
        "What this gateway stands in front of does not open a websocket; the status of the answer is its own.",
        "Look at the path and at the key that it knows you by.",
        (400, 401, 403, 404, 502),
    ),
    Code(
        "virtual_key_disabled",
        "The virtual key's configuration has a gap.",
        "Tell the operator; the message says which.",
        (400,),
    ),
    Code("virtual_key_retired", "The virtual key takes no new work.", "Use another one.", (400,)),
    Code(
        "webhook_of_config",
        "The webhook endpoint, or the secret, stands in the operator's configuration.",
        "Ask the operator to change it there.",
        (409,),
    ),
    Code(
        "webhook_test_failed",
        "The webhook endpoint did not answer the test.",
        "The message says why; see that the endpoint can be reached from the gateway.",
        (400,),
    ),
    Code(
        "work_budget_exceeded",
        "The work on the file takes longer than its size allows (`engine.task_seconds`).",
        "Make its lines simpler, or split the file.",
        (400,),
    ),
)

FAULTS = (
    Code(
        "budget_exceeded",
        "The LiteLLM key of the caller, or its team, has spent its `max_budget`, or would with what its other batches "
        "and this one are estimated to cost; the message has the numbers. Nothing was sent.",
        "Wait for the budget to be reset, have it raised, or send fewer lines.",
    ),
    Code("duplicate_custom_id", "Two lines have the same `custom_id`.", "Give every line one of its own."),
    Code("empty_file", "The file has no line that is not blank.", "Write one request a line."),
    Code("empty_string", "`custom_id` is an empty text.", "Give every line one of its own."),
    Code(
        "internal_error", "The file could not be translated.", "Create the batch again; tell the operator if it recurs."
    ),
    Code(
        "invalid_json_line",
        "The line is no JSON object in UTF-8, or nests too deep.",
        "The message names the byte or the cause.",
    ),
    Code(
        "invalid_pattern",
        "A `$regex` of the batch's config, stored by an earlier version, is none that RE2 takes.",
        "Create the batch again; the answer names the pattern.",
    ),
    Code(
        "invalid_request",
        "`body.model` names no model; or, told beside other faults, a chat has no `messages`.",
        "Write what `param` names.",
    ),
    Code(
        "invalid_type",
        "A field has a wrong type: `custom_id` is a text, `body` an object.",
        "Correct the field in `param`.",
    ),
    Code("invalid_url", "`url` is not the endpoint of the batch.", "Make the two equal."),
    Code("invalid_value", "`method` is not `POST`.", 'Write `"method": "POST"`, in capital letters.'),
    Code("line_too_long", "The line is longer than this gateway takes.", "Shorten or split the request."),
    Code(
        "missing_required_parameter",
        "The line lacks a field.",
        "Every line needs `custom_id`, `method`, `url`, `body`.",
    ),
    Code(
        "needs_credentials",
        "The batch runs on a provider key of yours, which the gateway no longer has. It has not failed.",
        "Send any request for this batch with the key in `Authorization`.",
    ),
    Code("streaming_unsupported", "`body.stream` is true.", "A batch cannot stream; remove it."),
    Code(
        "token_limit_exceeded",
        "The LiteLLM key of the caller, or its team, would have more tokens enqueued than its "
        "`batch_enqueued_token_limit`; the message has the numbers. Nothing was sent.",
        "Create the batch again when open ones have ended, or send fewer lines.",
    ),
    Code(
        "too_many_jobs",
        "The file would need more jobs than a batch may have (`limits.max_jobs_per_batch`).",
        "Use fewer models, or several files.",
    ),
    Code("too_many_tasks", "The file has more lines than this gateway takes.", "Split it into several."),
    Code("unreadable_file", "The stored file could not be read.", "Upload it again."),
    Code(
        "unsupported_endpoint",
        "No lane of the batch's targets has this endpoint.",
        "Use another endpoint or another target.",
    ),
    Code(
        "work_budget_exceeded",
        "The work on the file takes longer than its size allows (`engine.task_seconds`).",
        "Make its lines simpler, or split the file.",
    ),
)

ROWS = (
    Code(
        "account_incomplete",
        "The virtual key lacks a setting that its provider's jobs need; the message names it.",
        "Ask the operator.",
    ),
    Code(
        "answer_lost",
        "An ordinary call for this line was made twice and neither reply came, or it ran when the batch ended.",
        "It may have been answered and paid for; retry the line where that does not matter.",
    ),
    Code(
        "answer_unreadable",
        "The provider answered an ordinary call with success and no JSON object.",
        "It may have been paid for. Look at the account's base URL; retry the line.",
    ),
    Code(
        "answers_not_joined",
        "All requests of a line that was fanned out were answered, not all of them with choices to be joined.",
        "Send the line with fewer answers (`n`), or each prompt as a line of its own.",
    ),
    Code(
        "answers_too_large",
        "The answers to the requests of a line that was fanned out have more than 256 MB together.",
        "Ask for fewer answers (`n`) or prompts in a line.",
    ),
    Code(
        "batch_cancelled",
        "The batch was cancelled before this line had an answer.",
        "Retry the batch to run what is left.",
    ),
    Code("batch_expired", "The window ended before this line had an answer.", "Retry the batch to run what is left."),
    Code("batch_failed", "The provider failed the job and gave no code.", "The message has the provider's words."),
    Code(
        "credentials_missing",
        "The gateway had no credentials to read the results of the job.",
        "The line may have run; look at the provider before you send it again.",
    ),
    Code("empty_result", "The provider returned neither an answer nor an error.", "Retry the line."),
    Code(
        "http_NNN", "The provider refused the job with this HTTP status and gave no code.", "The message has its words."
    ),
    Code(
        "invalid_type", "A field of the body has a type that the lane cannot take.", "Correct the field that is named."
    ),
    Code(
        "invalid_value", "A field of the body has a value that no lane could take.", "Correct the field that is named."
    ),
    Code("job_failed", "The provider failed the job without a reason.", "Retry the batch."),
    Code("job_lost", "The provider no longer knows the job that it accepted.", "Look at the provider, then retry."),
    Code(
        "line_too_complex",
        "The translation of the line takes longer than its size allows (`engine.line_seconds`), or its body has so "
        "many values that they would take more than 24 MB of memory.",
        "Give it fewer or simpler members or schemas.",
    ),
    Code(
        "line_too_large",
        "The line is too large for the provider, translated, or for this gateway with the pictures it names or "
        "with what the config puts into it.",
        "Shorten it, put less into it, or use another target.",
    ),
    Code("list_too_long", "The provider's list of jobs is too long to be searched.", "Ask the operator."),
    Code(
        "media_unavailable",
        "A picture that the line names by URL could not be fetched; the message says where it stands and why.",
        "Correct the URL, or send the picture as a data URI. The operator sets what may be fetched.",
    ),
    Code(
        "model_not_allowed",
        "The API key or the virtual key may not use this model.",
        "Use another model or virtual key.",
    ),
    Code(
        "model_not_found",
        "The line's model names no target, or none that the lane knows.",
        "Write `@slug/model`, or a name of `GET /v1/models`.",
    ),
    Code(
        "no_direct_way",
        "The account can make no ordinary calls: litellm is not installed, or its credentials are of no use there.",
        "The message says what to install or to set.",
    ),
    Code(
        "no_target",
        "No target of the config takes this line.",
        "Add a `default` to its conditions, or change the line.",
    ),
    Code(
        "not_revocable",
        "A create whose answer was lost holds its lines itself, so that it cannot be taken away.",
        "Nothing is sent again before it is found; look at the provider.",
    ),
    Code("object_exists", "Another object has the key of a job's input in the bucket.", "Ask the operator."),
    Code(
        "outcome_unknown",
        "Whether the provider took the job could not be found out; it was not sent twice.",
        "Look at the provider, then retry.",
    ),
    Code("provider_error", "The provider returned an error without a code.", "The message has its words."),
    Code("refused", "The provider refused the job and gave no code.", "The message has its words."),
    Code(
        "result_missing",
        "The provider ended the job without an answer for this line; the message says whether it had reported one.",
        "Retry the line.",
    ),
    Code("results_expired", "The provider no longer has the results.", "Retry the batch."),
    Code("results_too_large", "The results are packed, and unpack to more than is taken.", "See them at the provider."),
    Code(
        "server_error",
        "The model was paid and gave no usable answer, such as a malformed tool call. A chat row has the provider's "
        "own word as code (`MALFORMED_FUNCTION_CALL`, `malformed_tool_use`); all that came stands beside the error.",
        "Retry the line.",
    ),
    Code(
        "too_few_lines",
        "A job would have fewer lines than its provider takes, or than min_lines_per_job of the virtual key.",
        "Put more lines into one file; where the account's quota allows smaller jobs, the operator sets that option.",
    ),
    Code(
        "too_late_for_a_job",
        "So near to the end of the completion window (rescue.direct_before) no job was begun for the line.",
        "Where no target could be called directly either, send the line again with a longer window.",
    ),
    Code(
        "too_many_answers",
        "The line is to be fanned out, and asks for more than 128 answers to a prompt, for more than 1,000 in all, or "
        "for more than a job may have.",
        "Ask for fewer answers (`n`) or prompts in a line.",
    ),
    Code(
        "too_much_added",
        "With what the config puts into the lines up to this one, or fanned out, the file is larger than the gateway "
        "takes.",
        "Put less into them (`override_params`), ask for fewer answers, or split the file.",
    ),
    Code(
        "unexpected_redirect", "The provider answered with a redirect, which is never followed.", "Tell the operator."
    ),
    Code("unsupported_endpoint", "The lane has no such endpoint.", "Use another endpoint or another target."),
    Code("unsupported_model", "The lane cannot run this model.", "Use another model or another target."),
    Code(
        "unsupported_parameter",
        "The lane cannot honour a parameter of the body.",
        "Remove it, or run the line without it: `drop_params: true` in the config of the batch or in its virtual key,"
        " or `--drop-params`. The message shows the line to add.",
    ),
    Code("unsupported_value", "The lane cannot honour a value of the body.", "Change the value that is named."),
    Code(
        "virtual_key_conflict",
        "The line names one virtual key, and the request chose another for all lines.",
        "Take `@slug/` out of the line's model, or send the batch without an account.",
    ),
    Code(
        "work_budget_exceeded",
        "The results of the job take longer to read than their size allows (`engine.task_seconds`).",
        "The line may have been paid for. Tell the operator.",
    ),
)
