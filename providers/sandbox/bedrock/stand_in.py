"""What others must know of Bedrock's stand-in."""

from typing import Any

from proxy_plugin.providers.sandbox.sigv4 import access_key
from proxy_plugin.providers.sandbox.stand_ins import StandIn

ROLE, BUCKET = "arn:aws:iam::111122223333:role/BedrockBatch", "batches"


def _account(url: str, key: str) -> dict[str, Any]:
    """The keys sign all calls; jobs and objects are at the same host."""
    return {
        **access_key(key),
        "custom_host": url,
        "bedrock_runtime_endpoint_url": f"{url}/openai/v1",
        "s3_endpoint_url": f"{url}/s3",
        "aws_s3_bucket": BUCKET,
        "aws_batch_role_arn": ROLE,
    }


STAND_IN = StandIn(
    provider="bedrock",
    dialect="proxy_plugin.providers.sandbox.bedrock.dialect:Bedrock",
    models=("anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0"),
    any_model=False,  # a name says which format a record has
    settings=_account,
    options={"min_lines_per_job": 1},
    root="",
    jobs="model-invocation-jobs",
    creates="model-invocation-job",
    one="model-invocation-job",
    newest="?sortBy=CreationTime&sortOrder=Descending&maxResults=1",
    uploads="s3/{bucket}/{key:.+}",
    results="objects.get",
    stop="/stop",
    late_cancel=400,
    free=(
        *("objects.put", "objects.list", "objects.get", "objects.manifest"),
        *("batches.retrieve", "batches.list"),
    ),
    doubted=("objects.head", "objects.delete"),
    late=("results_late",),
    counters=("successRecordCount", "errorRecordCount"),
    quick={"validate_seconds": 0.02, "run_seconds": 0.05, "cancel_seconds": 0.05},
    answers="echo",
    rests=False,
    leaves=True,
)
