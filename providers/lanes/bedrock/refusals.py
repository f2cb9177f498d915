"""What the refusals of S3 and Bedrock say, in words on which an operator can act, and which lines they name.

Sources: the project's reference page, section 8 (botocore 1.44.8); "Error responses" of the S3 API reference. That the
`message` of a failed job may name a record is UNVERIFIED.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy_plugin.providers.errors import OutcomeUnknown, ProviderError, Refused, TryLater
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line
from proxy_plugin.providers.signing import remedies

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

TOO_FEW = "too_few_lines"
_REGION = "The bucket is in another region: set aws_s3_region to the one that it is in."
REMEDIES = {  # beyond those of `signing.remedies`, by code
    **dict.fromkeys(("AuthorizationHeaderMalformed", "PermanentRedirect", "unexpected_redirect"), _REGION),
    "NoSuchBucket": "Create the bucket, or name another one as aws_s3_bucket of the virtual key.",
    "AccessDenied": "Allow this key s3:GetObject, PutObject, DeleteObject, ListBucket, ListBucketMultipartUploads and "
    "AbortMultipartUpload on the bucket of the virtual key; aws_s3_bucket_owner must be the bucket's account.",
    "AccessDeniedException": "Allow this key bedrock:CreateModelInvocationJob, GetModelInvocationJob, "
    "ListModelInvocationJobs and StopModelInvocationJob, and iam:PassRole on aws_batch_role_arn, which must exist.",
}
_OF_AN_ACCOUNT = re.compile(
    r"\b(role|access|bucket|s3|kms|iam|permission|quota|minimum|at least|fewer|model|assume)\b",
    re.IGNORECASE,
)
_FEW = re.compile(r"\b(minimum|at least|fewer|less than)\b", re.IGNORECASE)
_PLACE = re.compile(r"\brecord(?: number| no\.?)?[ :#]{1,2}(\d{1,9})\b", re.IGNORECASE)
MORE_LINES = (
    "Put more lines into one file, or send it to another lane; where the model's quota allows smaller jobs, set "
    "min_lines_per_job of the virtual key."
)


def told(error: Refused) -> Refused:
    """Return a refusal with what an operator can do about it, in the words of this lane where it has some."""
    own = REMEDIES.get(error.code)
    if own is None or own in error.message:
        return error
    known = remedies.remedy(error.code, error.message)
    words = "" if error.message == error.code else f"{error.message.replace(f' ({known})', '').rstrip('.')}. "
    status = 400 if error.code == "NoSuchBucket" else error.status  # the service itself is there
    return Refused(f"{words}{own}", code=error.code, status=status, param=error.param)


def of_create(error: Refused) -> ProviderError:
    """Return what the refusal of a create means: a quota that is full passes, a conflict may be our own job."""
    if error.code in {"ServiceQuotaExceededException", "ThrottlingException"}:
        later = TryLater(f"the create was refused: {error.code}", status=429)
        later.said = error
        return later
    if error.code == "ConflictException":
        return OutcomeUnknown("a job of this name or token may exist already")
    return told(error)


def of_job(origin: Origin, message: object) -> Refused:
    """Return why a job failed, from its `message`."""
    words = origin.clean(message) if isinstance(message, str) else ""
    refused = Refused(words or "Bedrock gave no reason for the failure of this job.", code="batch_failed")
    if _FEW.search(words):
        return Refused(f"{words.rstrip('.')}. {MORE_LINES}", code=TOO_FEW)
    found = _PLACE.search(words)
    record = int(found[1]) if found else in_words(words) or 0
    divisible = bool(record) or not (of_no_line(refused) or _OF_AN_ACCOUNT.search(words))
    return at_fault(refused, [record], divisible=divisible)


def missing(what: str, why: str) -> Refused:
    """Return the refusal of an account that lacks a setting."""
    where = f"Set it in the virtual key, or send x-portkey-{what.replace('_', '-')}."
    return Refused(f"{what} is missing: {why}. {where}", code="account_incomplete", status=400, param=what)
