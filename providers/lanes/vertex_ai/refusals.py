"""What Google's refusals mean to an operator, and what they say of lines.

Source: the project's reference page of Vertex AI, sections 1, 2 and 8: errors are a google.rpc.Status. What the service
agent may not do is told by the job alone. Whether a job ever fails for one line no page tells (UNVERIFIED): words that
name a line, counted from 1, are believed, and where nothing ran a part may be cut to find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.formats.gemini.answers import error_row
from proxy_plugin.providers.line_faults import at_fault, in_words, of_no_line

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin
    from proxy_plugin.providers.lanes.vertex_ai.places import VertexCredentials

OF_THE_DOCUMENT = frozenset({400, 413, 422})
QUOTA = "RESOURCE_EXHAUSTED"
_PLACE = re.compile(r"\b(bucket|permission|service (account|agent)|region|location|storage\.objects)", re.IGNORECASE)
_PROOF = (
    "The token is wrong or over: give vertex_service_account_json, whose tokens are renewed, or a new api_key,"
    " which is an access token."
)
_AGENT = (
    "The job's own service agent, service-PROJECT_NUMBER@gcp-sa-aiplatform.iam.gserviceaccount.com, needs Storage"
    " Object Admin on the bucket, and the bucket must be in the region of the job (vertex_region)."
)


@contextmanager
def of_jobs(own: VertexCredentials) -> Iterator[None]:
    """Add to the refusal of a call of jobs what an operator can do about it."""
    project, region = own.vertex_project_id, own.vertex_region
    user = f"The account needs the role Vertex AI User in project {project}, with the Vertex AI API enabled."
    place = f"Check vertex_project_id ({project}), vertex_region ({region}) and that the model is offered there."
    with _explained({401: _PROOF, 403: user, 404: place}):
        yield


@contextmanager
def of_bucket(own: VertexCredentials, missing: int = 404) -> Iterator[None]:
    """Add to the refusal of a call of the store what an operator can do about it; `missing` is the status of a 404."""
    admin = f"The account needs the role Storage Object Admin on the bucket {own.bucket}."
    name = f"Check vertex_storage_bucket_name: the account sees no bucket {own.bucket}."
    with _explained({401: _PROOF, 403: admin, 404: name}, missing):
        yield


@contextmanager
def _explained(known: Mapping[int, str], missing: int = 404) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        if (remedy := known.get(refused.status or 0)) is None:
            raise
        raise _with(refused, remedy, missing if refused.status == 404 else refused.status) from None


def of_create(refused: Refused) -> Refused:
    """Read a refused create, which has no lines of its own: it is about one only where it names it."""
    named = in_words(refused.message) if refused.status in OF_THE_DOCUMENT and not of_no_line(refused) else None
    return refused if named is None else at_fault(refused, [named], divisible=True)


def of_job(origin: Origin, status: object) -> Refused:
    """Read the google.rpc.Status of a failed job."""
    if not isinstance(status, dict):
        return Refused("The provider gave no reason.", code="job_failed")
    told = error_row(msgspec.json.encode(status))
    refused = origin.refusal(told.body, told.status, code="job_failed")
    if refused.status == 403 or _PLACE.search(refused.message):
        return _with(refused, _AGENT, refused.status)
    if refused.status not in OF_THE_DOCUMENT or of_no_line(refused):
        return refused
    return at_fault(refused, [in_words(refused.message) or 0], divisible=True)


def _with(refused: Refused, remedy: str, status: int | None) -> Refused:
    message = f"{refused.message.rstrip('.')}. {remedy}"
    return Refused(message, code=refused.code, status=status, param=refused.param)
