"""Words that say where lines run, in whatever spelling: what knows such a word not must refuse it by name.

One that is passed over sends lines to another account, or another model, than was meant.
"""

from __future__ import annotations

import re

_ACCOUNTS = (  # whose fields providers' credentials have: section 3 of Portkey's surface, 2026-11-21
    "aws|amz|amzn|azure|vertex|openai|anthropic|fireworks|huggingface|workers_ai|stability|snowflake|oracle|mistral"
    "|bedrock|s3|sts|gcs|google|databricks|cohere"
)
_ACCOUNT_FIELD = re.compile(rf"({_ACCOUNTS})_.*")
_STEERS = re.compile(
    r"(^|_)(portkey|virtual_?keys?|virtual|providers?|configs?|targets?|strategy|mode|rout(e|es|er|ing)|fallbacks?|load_?balanc\w*"
    r"|weights?|headers?|models?|deployments?|accounts?|workspaces?|projects?|organi[sz]ations?|tenants?|regions?"
    r"|locations?|hosts?|base|url|uri|buckets?|folder|blob|role|arn|slug|api_?keys?|secret|credentials?|auth|authorization"
    r"|requests|extra_(body|query)|(override|default|drop)_params|output_data_config|litellm_params|failovers?|sticky"
    r"|vendors?|rescues?|engines?|backends?|upstreams?|clusters?)($|_)"
)
_LOOKED_AT = 256  # characters of a name; a body has room for one of a million, which took 0.5 s
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IN_STRATEGY = "belongs into 'strategy'"
_IN_OVERRIDE = "is not read here; write it into 'override_params'"
_NO_WAY = "is not served. Lines run where 'provider' or 'virtual_key' says, or as 'strategy' shares them out"
_UNSERVED = {  # exact words: what else a config holds may be a credential of a provider that is not of this tree
    **dict.fromkeys(("mode", "conditions", "default", "on_status_codes"), _IN_STRATEGY),
    "sticky": "is not served: equal lines of a batch are shared out as any others are",
    **dict.fromkeys(("model", "model_name"), _IN_OVERRIDE),
    **dict.fromkeys(("api_base", "base_url", "endpoint_url", "url"), "is not read; write 'custom_host'"),
    **dict.fromkeys(("headers", "extra_headers", "litellm_params", "portkey_options", "provider_options"), _NO_WAY),
    **dict.fromkeys(("fallback", "fallbacks"), "is not served; write 'strategy': {'mode': 'fallback'} with 'targets'"),
    **dict.fromkeys(("direct_before", "attempts"), "belongs into 'rescue'"),
    **dict.fromkeys(("router", "route", "routes", "routing", "load_balancing"), _NO_WAY),
    **dict.fromkeys(("models", "deployment", "deployments", "slug", "config", "account", "virtual_keys"), _NO_WAY),
    **dict.fromkeys(("target_model_names", "custom_llm_provider", "integration", "integration_id"), _NO_WAY),
}


def plain(name: str) -> str:
    """Return a name in lower case, its words apart by `_`, without Portkey's prefix: `base_url` of `baseURL`."""
    return _HUMP.sub("_", name).lower().replace("-", "_").removeprefix("x_portkey_")


def steers(name: str) -> bool:
    """Tell whether a name says where work goes."""
    return _STEERS.search(plain(name[:_LOOKED_AT])) is not None


def of_an_account(name: str) -> bool:
    """Tell whether a name is, by its first word, a field of some provider's credentials."""
    return _ACCOUNT_FIELD.fullmatch(plain(name)) is not None


def unserved(name: str, value: object) -> str | None:
    """Return what is wrong with a key of a config that is known to steer and is not served, None for any other."""
    says_nothing = value is None or value is False or value in ({}, [], "", {"enabled": False})
    return None if says_nothing else _UNSERVED.get(plain(name))
