"""Where an account of Vertex AI has its jobs and objects: hosts, the bucket, the keys of a part, the body of a create.

A part has a folder of its own, `pp-<mark>/`: its input, and what its job writes below `out/`. An input that was revoked
never gets its key again, so that a create which comes late finds nothing: the next is `input-1.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import msgspec
from pydantic import Field, field_validator

from proxy_plugin.providers import kept
from proxy_plugin.providers.base import Account, PartFile
from proxy_plugin.providers.lanes.vertex_ai.rows import LABEL, LEGACY, family, resource
from proxy_plugin.providers.signing.accounts import GoogleCredentials, Url
from proxy_plugin.providers.stores import gcs

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

GLOBAL = "global"
Folder = Annotated[
    str, Field(max_length=512, pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*$")
]


class VertexCredentials(GoogleCredentials):
    """An account of Google Cloud, where its jobs run, and the bucket where they read and write.

    `vertex_endpoint_url` and `gcs_endpoint_url` replace the hosts of the two services.
    """

    gaps: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vertex_project_id": ("VERTEXAI_PROJECT", "VERTEX_PROJECT"),
        "vertex_region": ("VERTEXAI_LOCATION", "VERTEX_LOCATION"),
        "vertex_storage_bucket_name": ("GCS_BUCKET_NAME",),
    }

    vertex_storage_bucket_name: Folder
    """The bucket; a folder may stand behind it, and `gs://` before it. Example: my-batches/team-a"""
    vertex_endpoint_url: Url | None = None
    """Replaces the host of the jobs. Example: https://us-central1-aiplatform.googleapis.com"""
    gcs_endpoint_url: Url | None = None
    """Replaces the host of the bucket. Example: https://storage.googleapis.com"""
    vertex_kms_key_name: str | None = Field(None, pattern=r"^projects/[!-~]{1,256}$")
    """The key that encrypts what a job writes. Example: projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"""
    vertex_job_service_account: str | None = Field(None, pattern=r"^[!-~]{1,128}@[!-~]{1,128}$")
    """The account that jobs run as. Example: batches@my-project.iam.gserviceaccount.com"""
    upload_piece_bytes: int = Field(gcs.PIECE, ge=gcs.GRANULE, multiple_of=gcs.GRANULE)
    """Of one piece of an upload, a multiple of 256 KiB."""
    keep_objects: bool = False
    """Documents and results stay in the bucket after collection."""

    def says(self, name: str, text: str) -> bool:
        """See `Credentials.says`: an address of the bucket is its name."""
        return super().says(name, _bare(text) if name == "vertex_storage_bucket_name" else text)

    @field_validator("vertex_service_account_json", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take a service account that is written as YAML, as LiteLLM does."""
        return msgspec.json.encode(given).decode() if isinstance(given, dict) else given

    @field_validator("vertex_storage_bucket_name", mode="before")
    @classmethod
    def _name_alone(cls, given: object) -> object:
        return _bare(given) if isinstance(given, str) else given

    def base_url(self) -> str:
        """Return the host of the jobs: the global one, or that of a region or of the multi-regions us and eu."""
        prefix = "" if self.vertex_region == GLOBAL else f"{self.vertex_region}-"
        return self.vertex_endpoint_url or self.custom_host or f"https://{prefix}aiplatform.googleapis.com"

    @property
    def store(self) -> str:
        """The host of the bucket."""
        return self.gcs_endpoint_url or gcs.HOST

    @property
    def place(self) -> str:
        """The path of project and location."""
        return f"projects/{self.vertex_project_id}/locations/{self.vertex_region}"

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self.vertex_storage_bucket_name.partition("/")[0]

    def folder(self, mark: str) -> str:
        """Return the part's own folder in the bucket."""
        outer = self.vertex_storage_bucket_name.partition("/")[2]
        return f"{outer}{'/' if outer else ''}pp-{mark}/"


def _bare(bucket: str) -> str:
    return bucket.strip().removeprefix("gs://").strip("/")


def ours(account: Account) -> VertexCredentials:
    """Return the credentials of an account."""
    return cast("VertexCredentials", account.credentials)


def jobs_of(account: Account) -> Origin:
    """Return the calls of the account's jobs."""
    own = ours(account)
    secrets, signer = own.prove(account.http)
    return account.origin(f"{own.base_url()}/v1/{own.place}", secrets, signer=signer)


def bucket_of(account: Account) -> gcs.Bucket:
    """Return the account's bucket."""
    own = ours(account)
    secrets, signer = own.prove(account.http)
    return gcs.Bucket(account.origin(own.store, secrets, signer=signer), own.bucket, own.upload_piece_bytes)


def input_key(account: Account, part: PartFile) -> str:
    """Return the key of a part's input as it is noted beside the part. Blocking."""
    turn = kept.noted(part.path).get("turn")
    name = f"input-{turn}.jsonl" if isinstance(turn, int) and turn else "input.jsonl"
    return ours(account).folder(part.mark) + name


def turn_key(part: PartFile, revoked: str) -> None:
    """Note beside a part that this key is never used again. Blocking."""
    found = kept.noted(part.path)
    if found.get("revoked") != revoked:
        turn = found.get("turn")
        facts = {"turn": turn + 1 if isinstance(turn, int) else 1, "revoked": revoked}
        kept.note(part.path, facts, keep=True)


def order(own: VertexCredentials, part: PartFile, key: str) -> dict[str, Any]:
    """Return the body of a create. Its label carries our mark alone."""
    model, outputs = part.model or "", f"gs://{own.bucket}/{own.folder(part.mark)}out/"
    made: dict[str, Any] = {
        "displayName": f"pp-{part.mark}",
        "model": resource(model, own.place),
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{own.bucket}/{key}"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": outputs}},
        "labels": {LABEL: part.mark},
    }
    if family(model, part.endpoint) == LEGACY:  # these have no member for an id; so Portkey has one carried beside
        made["instanceConfig"] = {"instanceType": "object", "excludedFields": ["key"]}
    if own.vertex_kms_key_name:
        made["encryptionSpec"] = {"kmsKeyName": own.vertex_kms_key_name}
    if own.vertex_job_service_account:
        made["serviceAccount"] = own.vertex_job_service_account
    return made
