"""`docs/providers/`: a page for each lane of batches, from its record, its credentials and what is known of rights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import yaml

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Cancels, Capabilities, InputMode, Leaves, Revokes
from proxy_plugin.providers.direct.litellm_providers import BASE, Facts, providers
from proxy_plugin.providers.sandbox import stand_ins
from tools import model_words, settings_page

MADE = "<!-- made by `make docs` from the lane's record and credentials -->"
INDEX_HEAD = f"""\
# Providers

{MADE}

A page for each lane of batches: an account to copy, the rights that it needs, limits, and what callers should know. `provider:` is
the first name, or one of the others. A server that copies OpenAI's API is [openai-compatible](openai-compatible.md); any provider
that litellm knows is served by [ordinary calls](litellm.md), with litellm's own names of settings.

| provider | `provider:` | price of a batch | endpoints |
|---|---|---|---|"""
LITELLM = f"""\
# Providers without a batch service

{MADE}

What litellm knows and nobody else here: lines are ordinary calls, one each, at full price, and so are chat and the like where the
gateway runs alone. They need `pip install 'proxy-plugin[litellm]'`; `proxy-plugin check` says where that is missing.

```yaml
proxy_plugin:
  api_keys:
    - {{name: dev, key: os.environ/PORTKEY_API_KEY}}
  virtual_keys:
    deepseek-prod: {{provider: deepseek, api_key: os.environ/DEEPSEEK_API_KEY}}
    own-vllm: {{provider: hosted_vllm, custom_host: "http://127.0.0.1:8000/v1"}}
```

```sh
proxy-plugin batch plan lines.jsonl --virtual-key deepseek-prod
```

`api_base` and `base_url` are other names of `custom_host`, which is the base URL as litellm wants it. Beside these settings
[what every virtual key may have](../settings.md#virtual_keys); `direct_limits` says how many calls there may be.

| provider | `provider:` | an account needs | and may have |
|---|---|---|---|"""
_ROLE = "arn:aws:iam::111122223333:role/BedrockBatch"
_GOOGLE = {"vertex_project_id": "my-project", "vertex_service_account_json": "os.environ/VERTEXAI_CREDENTIALS"}
ACCOUNTS: Mapping[str, Mapping[str, str]] = {  # of pages whose account is more than a key, or has its key elsewhere
    "azure-openai": {"azure_resource_name": "my-resource", "api_key": "os.environ/AZURE_API_KEY"},
    "bedrock": {
        "aws_access_key_id": "os.environ/AWS_ACCESS_KEY_ID",
        "aws_secret_access_key": "os.environ/AWS_SECRET_ACCESS_KEY",
        "aws_region": "us-east-1",
        "aws_s3_bucket": "my-batches",
        "aws_batch_role_arn": _ROLE,
    },
    "claude-platform-aws": {"anthropic_aws_workspace_id": "os.environ/ANTHROPIC_AWS_WORKSPACE_ID"},
    "claude-platform-google": {**_GOOGLE, "anthropic_google_cloud_workspace_id": "wrkspc_example"},
    "fireworks-ai": {"fireworks_account_id": "os.environ/FIREWORKS_ACCOUNT_ID"},
    "openai-compatible": {"custom_host": "https://llm.example/v1"},
    "vertex-ai": {**_GOOGLE, "vertex_region": "us-central1", "vertex_storage_bucket_name": "my-batches"},
    "watsonx": {"watsonx_project_id": "os.environ/WATSONX_PROJECT_ID"},
}
KEYLESS = frozenset({"bedrock", "claude-platform-google", "vertex-ai"})  # their example proves itself otherwise
_BATCHES = "create, list, read and cancel batches"
RIGHTS: Mapping[InputMode, str] = {
    InputMode.FILE: f"The key must be allowed to upload, list, read and delete files, and to {_BATCHES}.",
    InputMode.INLINE: f"The key must be allowed to {_BATCHES}, and to read their results.",
}
RIGHTS_OF = {
    "azure-openai": "A key of the resource may do all that is needed. An identity of Entra needs a role on the resource that may"
    f" upload, list, read and delete files, and {_BATCHES}; which role is the smallest is UNVERIFIED.",
    "bedrock": """\
Two identities. The account's keys need

- `bedrock:CreateModelInvocationJob`, `GetModelInvocationJob`, `ListModelInvocationJobs` and `StopModelInvocationJob`,
- `iam:PassRole` on the role,
- `s3:GetObject`, `PutObject`, `DeleteObject`, `ListBucket`, `ListBucketMultipartUploads` and `AbortMultipartUpload` on the bucket,
- and, where they may, `servicequotas:ListServiceQuotas`.

The role (`aws_batch_role_arn`) trusts `bedrock.amazonaws.com`, and reads and writes the bucket. The rest is in
[operations](../operations.md).""",
    "vertex-ai": """\
The account needs

- `aiplatform.batchPredictionJobs.create`, `get`, `list` and `cancel` in the project,
- `storage.objects.create`, `get`, `list` and `delete` on the bucket.

Jobs run as the project's service agent, `service-PROJECT_NUMBER@gcp-sa-aiplatform.iam.gserviceaccount.com`, or as
`vertex_job_service_account`: it has to read and write the bucket, too.""",
}


@cache
def pages() -> dict[str, str]:
    """Return each page by its name, without the ending."""
    names = sorted(catalog.BUILT_IN)
    rows = [_index_row(name) for name in names]
    others = [_litellm_row(name, facts) for name, facts in sorted(providers().items()) if name in catalog.litellms()]
    index = {"README": "\n".join([INDEX_HEAD, *rows]) + "\n", "litellm": "\n".join([LITELLM, *others]) + "\n"}
    return index | {name: "\n".join(_page(name)) + "\n" for name in names}


def _litellm_row(name: str, facts: Facts) -> str:
    fields = {"api_key": None, **dict.fromkeys((*facts.told, *facts.secret, "custom_host"))}
    own = [each for each in fields if each != BASE]
    needed = [each for each in own if (BASE if each == "custom_host" else each) in facts.needed]
    cells = [_words(needed) or "nothing", _words([each for each in own if each not in needed])]
    return f"| {facts.title} | {_names(name)} | {' | '.join(cells)} |"


def _index_row(name: str) -> str:
    facts = catalog.load(name).capabilities
    cells = [f"[{facts.title}]({name}.md)", _names(name), _price(facts), _endpoints(facts)]
    return f"| {' | '.join(cells)} |"


def _page(name: str) -> Iterator[str]:
    lane = catalog.load(name)
    yield f"# {lane.capabilities.title}\n\n{MADE}\n"
    yield "| | |\n|---|---|"
    yield from (f"| {what} | {told} |" for what, told in _facts(name, lane))
    yield f"\n## A configuration to copy\n\n```yaml\n{configuration(name)}```\n"
    yield "`proxy-plugin check --config config.yaml --live` then says whether key, host and path are right. A line, and how it runs:\n"
    yield f"```jsonl\n{line(name)}\n```\n\n```sh\n{_commands(name)}```\n"
    yield f"`proxy-plugin demo --provider {name}` runs 2,000 lines against a stand-in, without an account.\n"
    yield f"## Credentials\n\n{model_words.purpose(lane.credentials)}\n"
    yield from settings_page.table(model_words.settings(lane.credentials))
    yield f"\nBeside them [what every virtual key may have](../settings.md#virtual_keys).{_variables(name)}\n"
    yield f"## Rights\n\n{_rights(name, lane)}\n"
    yield "## What callers should know\n"
    yield from (f"- {each}" for each in lane.capabilities.caveats)


def _facts(name: str, lane: BatchProvider) -> Iterator[tuple[str, str]]:
    facts = lane.capabilities
    yield "`provider:`", _names(name)
    yield "endpoints", _endpoints(facts)
    yield "base URL", f"`{facts.default_host}`" if facts.default_host else "the account's `custom_host`"
    yield "lines of a job", _limits(facts.min_lines, facts.max_lines)
    yield "bytes of a job; of a line", f"{_number(facts.max_bytes)}; {_number(facts.max_line_bytes)}"
    yield "models of a job", "one" if facts.one_model_per_job else "any"
    yield "price beside the list price", _price(facts)
    yield (
        "a lost create is found by",
        facts.found_by
        + ("; what it would read is taken away before it is sent again" if isinstance(lane, Revokes) else ""),
    )
    yield "jobs can be cancelled", "yes" if isinstance(lane, Cancels) else "no"
    yield (
        "ordinary calls",
        {"own": "by our own client", "litellm": "by litellm", None: "none"}[catalog.way_of_calls(name)],
    )


def configuration(name: str) -> str:
    """Return a configuration with one account of a provider, as YAML."""
    account = {"provider": name, **ACCOUNTS.get(name, {})}
    if name not in KEYLESS:
        account.setdefault("api_key", f"os.environ/{_variable(name)}")
    keys = [{"name": "dev", "key": "os.environ/PORTKEY_API_KEY"}]
    return yaml.safe_dump(
        {"proxy_plugin": {"api_keys": keys, "virtual_keys": {f"{name}-prod": account}}}, sort_keys=False, width=1000
    )


def _variable(name: str) -> str:
    proofs = catalog.environment(name).proofs
    variables = next((each["api_key"] for each in proofs if "api_key" in each), None)
    return variables[0] if variables else f"{name.upper().replace('-', '_')}_API_KEY"


def line(name: str) -> str:
    """Return a line of an input file that a lane takes."""
    found = stand_ins.find(name)
    said = {"messages": [{"role": "user", "content": "What is a batch?"}], "max_tokens": 200}
    body = {"model": found.model} | (said if "chat" in found.endpoint else {"input": "What is a batch?"})
    return json.dumps({"custom_id": "q-1", "method": "POST", "url": found.endpoint, "body": body})


def _commands(name: str) -> str:
    target = f"lines.jsonl --virtual-key {name}-prod"
    return f"proxy-plugin batch plan {target}\nproxy-plugin batch submit {target} --watch --output results.jsonl\n"


def _variables(name: str) -> str:
    """Say which variables of the environment, LiteLLM's, hold what an account leaves out."""
    environment, gaps = catalog.environment(name), catalog.load(name).credentials.gaps
    entries = {field: each for proof in environment.proofs for field, each in proof.items()}
    entries |= environment.others
    own, others = _from(gaps), _from({field: each for field, each in entries.items() if field not in gaps})
    said = f" Left out, these come from the environment: {own}." if own else ""
    return said + (f" In entries of LiteLLM's `model_list` also {others}." if others else "")


def _from(variables: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"`{field}` from {_words(names)}" for field, names in sorted(variables.items()))


def _rights(name: str, lane: BatchProvider) -> str:
    told = RIGHTS_OF.get(name) or RIGHTS[lane.capabilities.input_mode]
    if isinstance(lane, Revokes) and not isinstance(lane, Leaves):
        told += " The right to delete is what makes a create whose reply was lost safe to send again."
    return told


def _names(name: str) -> str:
    return _words((name, *catalog.aliases(name)))


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def _endpoints(facts: Capabilities) -> str:
    return _words(sorted(facts.endpoints))


def _price(facts: Capabilities) -> str:
    return f"{1 - facts.discount:.0%}".replace("%", " %")


def _number(limit: int | None) -> str:
    return "no limit known" if limit is None else f"{limit:,}"


def _limits(least: int | None, most: int | None) -> str:
    return _number(most) if least is None else f"{least:,} to {_number(most)}"
