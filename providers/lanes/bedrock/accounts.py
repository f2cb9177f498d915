"""An account of Bedrock's batches: who calls, where documents and results lie, and as whom a job reads them.

Field names are Portkey's headers without `x-portkey-`, and LiteLLM's settings where Portkey has none; rules of their
values: botocore 1.44.8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from proxy_plugin.providers.base import Account
from proxy_plugin.providers.keys import Key
from proxy_plugin.providers.lanes.bedrock.refusals import missing
from proxy_plugin.providers.signing.accounts import AwsCredentials, Name, Proof, Url, bearer
from proxy_plugin.providers.stores import s3

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http, Origin

CONTROL, RUNTIME = "https://bedrock.{region}.{domain}", "https://bedrock-runtime.{region}.{domain}/openai/v1"
QUOTAS = "https://servicequotas.{region}.{domain}"
STORE = "https://s3.{region}.{domain}"
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Prefix = Annotated[str, Field(pattern=r"^[-!_*'().a-zA-Z0-9/]{0,512}$")]  # what an s3Uri may hold
Twelve = Annotated[str, Field(pattern=r"^\d{12}$")]
POLL_SECONDS = 30.0
LEAST_HOURS, MOST_HOURS = 24, 168  # that a job may be given
_URI = re.compile(r"s3://([^/]+)(?:/(.*))?")
_BUCKETS = frozenset({"aws_s3_bucket", "aws_s3_output_bucket", "output_data_config"})
_NOBODYS = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}  # a key with which places can be read alone
ENCRYPTION = "x-amz-server-side-encryption"


def _listed(given: Any) -> Any:
    """A header, or a field of a form, holds a list as text."""
    return [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given


def _mapped(given: Any) -> Any:
    return json.loads(given) if isinstance(given, str) and given.lstrip().startswith("{") else given


def _read(given: Any) -> Any:
    """Read `bucket/prefix`, and `output_data_config` of a create."""
    if not isinstance(given, dict):
        return given
    made = dict(given)
    for kind in ("", "output_"):
        bucket, slash, prefix = str(made.get(f"aws_s3_{kind}bucket") or "").partition("/")
        made |= {f"aws_s3_{kind}bucket": bucket, f"aws_s3_{kind}prefix": prefix} if slash else {}
    made |= _spread(made["output_data_config"]) if made.get("output_data_config") else {}
    if not made.get("aws_s3_bucket") and made.get("output_data_config"):  # the one place that is named has both
        made |= {f"aws_s3_{name}": made[f"aws_s3_output_{name}"] for name in ("bucket", "prefix")}
    return made


def _spread(told: Any) -> dict[str, str]:
    """Return `output_data_config`, an object or an address, as the fields that say the same."""
    config = _mapped(told)
    inner = config.get("s3OutputDataConfig", config) if isinstance(config, dict) else {"s3Uri": config}
    found = _URI.fullmatch(str(inner.get("s3Uri"))) if isinstance(inner, dict) else None
    if found is None:
        raise ValueError("output_data_config has no s3OutputDataConfig.s3Uri of the form s3://bucket/folder/")
    key = inner.get("s3EncryptionKeyId")
    named = {"aws_s3_output_bucket": found[1], "aws_s3_output_prefix": found[2] or ""}
    return named | ({"aws_s3_encryption_key_id": key} if key else {})


Names = Annotated[tuple[Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]{1,64}$")], ...], BeforeValidator(_listed)]
Tags = Annotated[dict[str, str], BeforeValidator(_mapped)]


class BedrockCredentials(AwsCredentials):
    """Keys of AWS, which S3 needs, and where an account has one an API key of Bedrock's (`api_key`)."""

    _bearer: ClassVar[str] = "AWS_BEARER_TOKEN_BEDROCK"
    gaps: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **AwsCredentials.gaps,
        "aws_batch_role_arn": ("AWS_BATCH_ROLE_ARN",),
        "aws_s3_bucket": ("AWS_S3_BUCKET_NAME",),
        "aws_s3_output_bucket": ("AWS_S3_OUTPUT_BUCKET_NAME",),
        "aws_s3_encryption_key_id": ("AWS_S3_ENCRYPTION_KEY_ID",),
        "aws_s3_bucket_owner": ("AWS_S3_BUCKET_OWNER",),
    }

    api_key: Key | None = None
    """An API key of Bedrock's, beside the keys that the bucket needs. Example: os.environ/AWS_BEARER_TOKEN_BEDROCK"""
    aws_batch_role_arn: str | None = Field(None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[!-~]{1,512}$")
    """The role that jobs run as; it reads and writes the bucket. Example:
    arn:aws:iam::111122223333:role/BedrockBatch
    """
    aws_s3_bucket: BucketName | None = None
    """Where documents and results lie; a prefix may stand behind it. Example: my-batches"""
    aws_s3_prefix: Prefix = ""
    """Below which everything of ours lies. Example: batches/team-a"""
    aws_s3_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """The bucket's region; none: `aws_region`. Example: us-west-2"""
    aws_s3_output_bucket: BucketName | None = None
    """The bucket of results; none: that of the documents. Example: my-results"""
    aws_s3_output_prefix: Prefix | None = None
    """Below which results lie; none: `aws_s3_prefix`. Example: results"""
    s3_access_key_id: Name | None = None
    """The id of a key of the bucket's own. Example: os.environ/S3_ACCESS_KEY_ID"""
    s3_secret_access_key: Key | None = None
    """Its secret. Example: os.environ/S3_SECRET_ACCESS_KEY"""
    output_data_config: Any = None
    """Where results lie, as a create writes it for Bedrock. Example: s3://my-results/batches/"""
    aws_s3_bucket_owner: Twelve | None = None
    """The account that the bucket belongs to. Example: '111122223333'"""
    aws_s3_encryption_key_id: str | None = Field(None, pattern=r"^[!-~]{1,2048}$")
    """The key of KMS for results. Example: arn:aws:kms:us-east-1:111122223333:key/example"""
    amz_server_side_encryption: str | None = Field(None, pattern=r"^[a-zA-Z0-9:]{1,32}$")
    """How what is uploaded is encrypted. Example: aws:kms"""
    amz_server_side_encryption_aws_kms_key_id: str | None = Field(None, pattern=r"^[!-~]{1,2048}$")
    """The key of KMS for what is uploaded. Example: arn:aws:kms:us-east-1:111122223333:key/example"""
    aws_s3_part_bytes: int = Field(s3.PIECE, ge=1024, le=5 << 30)
    """Of one piece of an upload; AWS takes none below 5 MiB but the last."""
    aws_batch_tags: Tags = Field(default_factory=dict)
    """Tags of the jobs. Example: {team: research}"""
    aws_batch_subnet_ids: Names = ()
    """Subnets of the jobs' VPC. Example: [subnet-0123456789abcdef0]"""
    aws_batch_security_group_ids: Names = ()
    """Security groups of the jobs' VPC. Example: [sg-0123456789abcdef0]"""
    aws_batch_timeout_hours: int | None = Field(None, ge=LEAST_HOURS, le=MOST_HOURS)
    """For how long a job may wait and run; none: as long as its batch, at least 24. Example: 72"""
    keep_objects: bool = False
    """Documents and results stay in the bucket after collection."""
    bedrock_endpoint_url: Url | None = None
    """Replaces the host of the jobs. Example: https://bedrock.us-east-1.amazonaws.com"""
    bedrock_runtime_endpoint_url: Url | None = None
    """Replaces the host of OpenAI's batch and of ordinary calls. Example:
    https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1
    """
    s3_endpoint_url: Url | None = None
    """Replaces the host of the bucket. Example: https://s3.us-east-1.amazonaws.com"""
    servicequotas_endpoint_url: Url | None = None
    """Replaces the host of the quotas. Example: https://servicequotas.us-east-1.amazonaws.com"""

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        return _read(given)

    @model_validator(mode="after")
    def _keys_of_the_store(self) -> BedrockCredentials:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("s3_access_key_id and s3_secret_access_key go together")
        return self

    def says(self, name: str, text: str) -> bool:
        """See `Credentials.says`: a bucket may have its prefix behind it, results may be named by their address."""
        try:
            told = _spread(text) if name == "output_data_config" else _read({name: text})
        except ValueError:
            return False
        own = {"aws_s3_output_bucket": self.aws_s3_bucket, "aws_s3_output_prefix": self.aws_s3_prefix}
        held = {each: getattr(self, each) for each in told}
        held = {each: own.get(each) if value is None else value for each, value in held.items()}
        return all(str(held[each]).strip("/") == str(value).strip("/") for each, value in told.items())

    def is_open(self, name: str) -> bool:
        """See `Credentials.is_open`: a role, and buckets, where the account names none."""
        if name == "aws_batch_role_arn":
            return self.aws_batch_role_arn is None
        return name in _BUCKETS and self.aws_s3_bucket is None and self.aws_s3_output_bucket is None

    def placed(self, said: Mapping[str, str]) -> Self:
        """See `Credentials.placed`."""
        read = type(self).model_validate({**_NOBODYS, **said})
        return self.model_copy(update={name: getattr(read, name) for name in read.model_fields_set - _NOBODYS.keys()})

    @property
    def bucket(self) -> str:
        """The bucket of documents. Raises Refused."""
        if self.aws_s3_bucket is None:
            raise missing("aws_s3_bucket", "Bedrock reads documents and writes results there")
        return self.aws_s3_bucket

    @property
    def role(self) -> str:
        """The role that jobs run as. Raises Refused."""
        if self.aws_batch_role_arn is None:
            raise missing("aws_batch_role_arn", "Bedrock reads and writes the bucket as this role")
        return self.aws_batch_role_arn

    def folder(self, mark: str) -> str:
        """Return the key below which the documents of a part lie."""
        return _below(self.aws_s3_prefix, mark)

    def results(self, mark: str) -> tuple[str, str]:
        """Return the bucket, and the key below which the results of a part will lie."""
        prefix = self.aws_s3_prefix if self.aws_s3_output_prefix is None else self.aws_s3_output_prefix
        return self.aws_s3_output_bucket or self.bucket, f"{_below(prefix, mark)}out/"

    def reads_quotas(self) -> bool:
        """Tell whether quotas are where the jobs are."""
        return self.servicequotas_endpoint_url is not None or self.pace() is not None

    def pace(self) -> float | None:
        """Return the seconds between polls. AWS publishes no rates of its control plane, so it is asked gently."""
        return POLL_SECONDS if self.base_url().endswith(("amazonaws.com", "amazonaws.com.cn")) else None

    def hours(self, window: int) -> int:
        """Return for how long a job may wait and run; a batch's window is in seconds."""
        return self.aws_batch_timeout_hours or min(max(-(-window // 3600), LEAST_HOURS), MOST_HOURS)

    def base_url(self) -> str:
        """Return the base URL of the jobs."""
        return self.bedrock_endpoint_url or self.custom_host or _at(CONTROL, self.aws_region)


def of(account: Account) -> BedrockCredentials:
    """Return the credentials of an account of this lane."""
    return cast("BedrockCredentials", account.credentials)


def jobs_of(account: Account) -> Origin:
    """Return the calls of the account's model invocation jobs."""
    secret, signer = _proof(of(account), account.http)
    return account.origin(of(account).base_url(), secret, signer=signer)


def batches_of(account: Account, headers: dict[str, str] | None = None) -> Origin:
    """Return the calls of the account's OpenAI batches, which all carry these headers."""
    ours = of(account)
    secret, signer = _proof(ours, account.http)
    base = ours.bedrock_runtime_endpoint_url or _at(RUNTIME, ours.aws_region)
    return account.origin(base, secret, headers, signer=signer)


def quotas_of(account: Account) -> Origin:
    """Return the calls of the account's quotas."""
    ours = of(account)
    secret, signer = ours.sign("servicequotas", account.http)
    base = ours.servicequotas_endpoint_url or _at(QUOTAS, ours.aws_region)
    return account.origin(base, secret, signer=signer)


def bucket_of(account: Account, name: str) -> s3.Bucket:
    """Return a bucket as the account sees it. Its region may be another than that of the jobs."""
    ours = of(account)
    region = ours.aws_s3_region or ours.aws_region
    own: dict[str, Any] = {"aws_region": region}
    if ours.s3_access_key_id is not None:
        own |= {"aws_access_key_id": ours.s3_access_key_id, "aws_secret_access_key": ours.s3_secret_access_key}
        own |= dict.fromkeys(("aws_session_token", "aws_role_arn", "aws_auth_type", "aws_web_identity_token_file"))
    secret, signer = ours.model_copy(update=own).sign("s3", account.http)
    owner = {"x-amz-expected-bucket-owner": ours.aws_s3_bucket_owner} if ours.aws_s3_bucket_owner else {}
    origin = account.origin(ours.s3_endpoint_url or _at(STORE, region), secret, owner, signer=signer)
    return s3.Bucket(origin, name, ours.aws_s3_part_bytes, _encrypted(ours))


def _proof(ours: BedrockCredentials, http: Http) -> Proof:
    return bearer(ours.api_key) if ours.api_key is not None else ours.sign("bedrock", http)


def _encrypted(ours: BedrockCredentials) -> dict[str, str]:
    """Return how a document is encrypted: as the account says, or with the key that its results are."""
    key = ours.amz_server_side_encryption_aws_kms_key_id or ours.aws_s3_encryption_key_id
    kind = ours.amz_server_side_encryption or ("aws:kms" if key else None)
    named = {ENCRYPTION: kind} if kind else {}
    return named | ({f"{ENCRYPTION}-aws-kms-key-id": key} if key and kind != "AES256" else {})


def _below(prefix: str, mark: str) -> str:
    parts = [part for part in prefix.split("/") if part]
    return "/".join((*parts, f"pp-{mark}", ""))


def _at(base: str, region: str) -> str:
    return base.format(region=region, domain="amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com")
