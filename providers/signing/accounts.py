"""Credentials of AWS and Google, shared by their lanes: each model says who it is and how it proves that.

Field names are Portkey's headers without `x-portkey-`, per the project's reference page, section 3. What is the
machine's own (a managed identity, a token file, keys of the environment, the role of a container or an instance) is
told by `borrowed`, so that no caller who brings credentials can act as the machine: the gateway takes none of it. The
environment is read with the settings, for the gateway takes secrets out of it afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, PrivateAttr, SecretStr, model_validator

from proxy_plugin.providers.errors import Refused
from proxy_plugin.providers.keys import HostCredentials, Key, plain
from proxy_plugin.providers.signing import aws, aws_files, aws_keys, google, google_aws, google_defaults
from proxy_plugin.providers.signing.tokens import Bearer, TokenSource

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Http
    from proxy_plugin.providers.signing.signer import Signer

Url = Annotated[str, AfterValidator(plain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]  # of what stands in a host or a path
_WEB = {"aws_role_arn": "AWS_ROLE_ARN", "aws_web_identity_token_file": "AWS_WEB_IDENTITY_TOKEN_FILE"}
_AGENT = ("CREDENTIALS_RELATIVE_URI", "CREDENTIALS_FULL_URI", "AUTHORIZATION_TOKEN", "AUTHORIZATION_TOKEN_FILE")
_IDENTITY = "aws_web_identity_token_file"
_ASKING = ("aws_auth_type", "aws_role_arn", "aws_profile", _IDENTITY)  # for what the machine has
_MACHINES = frozenset({"environment", "webIdentity", "container", "instance"})
_AWS_KEY = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
AWS_OF_LITELLM = {
    "aws_region_name": "aws_region",
    "aws_profile_name": "aws_profile",
    "aws_role_name": "aws_role_arn",
    "aws_session_name": "aws_role_session_name",
    "aws_sts_endpoint": "aws_sts_endpoint_url",
}
GOOGLE_OF_LITELLM = {
    "vertex_project": "vertex_project_id",
    "vertex_location": "vertex_region",
    "vertex_credentials": "vertex_service_account_json",
}
Proof = tuple[Mapping[str, str], "Signer | None"]  # secret headers, and a signer where they are not enough


def bearer(token: SecretStr) -> Proof:
    """Return the proof of an account by a token that it was given."""
    return {"Authorization": f"Bearer {token.get_secret_value()}"}, None


def from_file(path: str, otherwise: str) -> str:
    """Return the text of a file that a setting names. Raises ValueError, in the words `otherwise`."""
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        raise ValueError(otherwise) from None


Kind = Literal["accessKey", "assumedRole", "environment", "webIdentity", "container", "instance"]


class AwsCredentials(HostCredentials):
    """An account of AWS: an access key, that of a session, or what the machine has; and a role that these may take.

    Without a key, and without `aws_auth_type`, the machine's own are found as AWS's tools find them: the environment, a
    web identity, a profile of `~/.aws`, a container's role, an instance's role. See `borrowed`.
    """

    _bearer: ClassVar[str] = ""  # the variable that may hold `api_key`
    gaps: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "aws_region": ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
    }

    operators: ClassVar[frozenset[str]] = frozenset({"aws_profile", "aws_web_identity_token_file"})

    aws_auth_type: Kind | None = None
    """Which of AWS's ways to prove an account; none: by what is there. Example: instance"""
    aws_profile: Annotated[str, Field(pattern=r"^[ -~]{1,128}$")] | None = None
    """A profile of the operator's `~/.aws`. Example: batches"""
    aws_access_key_id: Name | None = None
    """An access key's id. Example: os.environ/AWS_ACCESS_KEY_ID"""
    aws_secret_access_key: Key | None = None
    """Its secret. Example: os.environ/AWS_SECRET_ACCESS_KEY"""
    aws_session_token: Key | None = None
    """The token of a session's key. Example: os.environ/AWS_SESSION_TOKEN"""
    aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"  # Portkey's default
    """The region of the jobs."""
    aws_role_arn: str | None = Field(None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[!-~]{1,512}$")
    """A role that the key, or the machine, takes. Example: arn:aws:iam::111122223333:role/Batches"""
    aws_external_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_+=,.@:/-]+$", max_length=1224
    )  # the bounds of AssumeRole
    """What the role's trust policy asks for. Example: proxy-plugin-1"""
    aws_role_session_name: str = Field("proxy-plugin", pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")
    """How AWS's logs call the role's sessions."""
    aws_web_identity_token_file: str | None = None
    """The file with the token for which the role is given. Example:
    /var/run/secrets/eks.amazonaws.com/serviceaccount/token
    """
    aws_sts_endpoint_url: Url | None = None
    """Replaces the host of STS. Example: https://sts.us-east-1.amazonaws.com"""
    aws_ec2_metadata_url: Url = aws_keys.MACHINE
    """The machine's metadata service, which gives keys of its role."""
    _machines: str = PrivateAttr("")  # what the machine lends: the setting that asks for it
    _container: aws_keys.Container | None = PrivateAttr(None)
    _web: dict[str, str] = PrivateAttr(default_factory=dict)  # the role of the machine itself, by its token file

    @model_validator(mode="wrap")
    @classmethod
    def _from_machine(cls, given: Any, made: ModelWrapValidatorHandler[Self]) -> Self:
        """Without any key what the machine has counts."""
        if not isinstance(given, dict) or any(given.get(name) for name in _AWS_KEY):
            return made(given)
        asked = given.get("aws_auth_type")
        if given.get("api_key") and not any(given.get(name) for name in _ASKING):
            return made(given)
        lent = _lent(given, os.environ, cls._bearer)
        account = made(given | lent)
        account._machines = "aws_auth_type" if asked else "aws_access_key_id"  # noqa: SLF001 - of this class
        account._container = _container_of(os.environ)  # noqa: SLF001
        account._web = _set(os.environ, _WEB)  # noqa: SLF001
        return account

    @model_validator(mode="after")
    def _whole_key(self) -> AwsCredentials:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("aws_access_key_id and aws_secret_access_key go together")
        if self.aws_session_token is not None and self.aws_access_key_id is None:
            raise ValueError("aws_session_token goes with aws_access_key_id and aws_secret_access_key")
        keyed = self.aws_auth_type not in _MACHINES and self.aws_web_identity_token_file is None
        if self.aws_access_key_id is not None and not keyed and self.aws_auth_type != "environment":
            raise ValueError(f"an access key does not go with aws_auth_type {self.aws_auth_type or 'webIdentity'}")
        if self.aws_profile is not None and not self._machines:
            raise ValueError("aws_profile does not go with a key")
        for name in ("aws_external_id", "aws_web_identity_token_file"):
            if getattr(self, name) is not None and self.aws_role_arn is None:
                raise ValueError(f"{name} goes with aws_role_arn")
        if self.aws_auth_type == "assumedRole" and self.aws_role_arn is None:
            raise ValueError("aws_auth_type assumedRole needs aws_role_arn")
        if self.aws_auth_type == "webIdentity" and not (self.aws_role_arn and self.aws_web_identity_token_file):
            names = "aws_role_arn and aws_web_identity_token_file"
            raise ValueError(f"aws_auth_type webIdentity needs {names}, or {', '.join(_WEB.values())} to be set")
        if self.aws_auth_type == "container" and self._container is None:
            names = " or ".join(f"AWS_CONTAINER_{name}" for name in _AGENT[:2])
            raise ValueError(f"aws_auth_type container needs {names} to be set")
        if self.aws_auth_type in {"accessKey", "environment"} and self.aws_access_key_id is None:
            raise ValueError(f"aws_auth_type {self.aws_auth_type} needs aws_access_key_id and aws_secret_access_key")
        return self

    def borrowed(self) -> str | None:
        """Name the setting for which the machine lends what proves the account."""
        return self._machines or ("aws_web_identity_token_file" if self.aws_web_identity_token_file else None)

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets. What is renewed is not among them."""
        key = (self.aws_region, self.aws_access_key_id or "", clear(self.aws_secret_access_key))
        role = (self.aws_role_arn, self.aws_external_id, self.aws_web_identity_token_file)
        if not any(role) and self.aws_access_key_id is not None:
            return key
        lent = "" if self.aws_access_key_id is not None else f"{self.aws_auth_type}\x1f{self.aws_ec2_metadata_url}"
        return (*key, *(each or "" for each in role), lent, self.aws_sts_endpoint_url or "")

    def sign(self, service: str, http: Http | None = None) -> Proof:
        """Return a signer for one service. Without `http` only an access key can sign."""
        return {}, aws.SigV4(self._keys(), service, self.aws_region, http)

    def _keys(self) -> aws.Keys | TokenSource:
        """Return the keys, or where they come from: those of the role, if there is one."""
        sts = aws_keys.Sts(self.aws_region, self.aws_sts_endpoint_url)
        role, session = self.aws_role_arn or "", self.aws_role_session_name
        if self.aws_web_identity_token_file is not None and self.aws_access_key_id is None:
            return aws_keys.WebIdentity(role, session, self.aws_web_identity_token_file, sts)
        base = self._base()
        return aws_keys.AssumedRole(base, role, session, self.aws_external_id, sts) if role else base

    def _base(self) -> aws.Keys | TokenSource:
        if self.aws_access_key_id is not None:
            secret, token = clear(self.aws_secret_access_key), clear(self.aws_session_token) or None
            return aws.Keys(self.aws_access_key_id, secret, token)
        if not self._machines:
            message = "This call has to be signed, and the account has an API key alone: set aws_access_key_id, too."
            raise Refused(message, code="credentials_missing", param="aws_access_key_id")
        if self.aws_auth_type in {None, "assumedRole"} and self._web.keys() == _WEB.keys():
            sts = aws_keys.Sts(self.aws_region, self.aws_sts_endpoint_url)
            role, file = (self._web[name] for name in _WEB)
            return aws_keys.WebIdentity(role, self.aws_role_session_name, file, sts)
        if self._container is not None and self.aws_auth_type != "instance":
            return self._container
        return aws_keys.Instance(self.aws_ec2_metadata_url)


def _lent(given: Mapping[str, Any], environ: Mapping[str, str], bearer_in: str) -> dict[str, str]:
    """Return what the machine says of an account without a key: a key, a web identity, a profile, or none of them."""
    asked, profile = given.get("aws_auth_type"), given.get("aws_profile")
    lent = {} if profile else _in_environment(given, environ, bearer_in)
    held = {name for name, value in {**given, **lent}.items() if value}
    lends = not profile and _set(environ, _WEB).keys() == _WEB.keys()
    if lends or held & {_AWS_KEY[0], _IDENTITY} or asked not in {None, "accessKey", "assumedRole"}:
        return lent
    told = aws_files.found(environ, profile)
    if given.get("aws_role_arn") and told.get("aws_role_arn"):
        raise ValueError(
            "the profile of ~/.aws takes a role itself: leave out aws_role_arn, or name another aws_profile"
        )
    return {name: value for name, value in told.items() if not given.get(name)} | lent


def _in_environment(given: Mapping[str, Any], environ: Mapping[str, str], bearer_in: str) -> dict[str, str]:
    asked, token = given.get("aws_auth_type"), environ.get(bearer_in, "").strip() if bearer_in else ""
    lent = {"api_key": token} if token and not asked and not given.get("api_key") else {}
    key = _set(environ, {name: name.upper() for name in _AWS_KEY})
    if asked in {None, "accessKey", "assumedRole", "environment"} and not given.get("aws_web_identity_token_file"):
        lent |= key
    web, role = _set(environ, _WEB), given.get("aws_role_arn")
    own = role in {None, web.get("aws_role_arn")} and "aws_access_key_id" not in lent  # else it takes another role
    if asked == "webIdentity" or (asked in {None, "assumedRole"} and own and web.keys() == _WEB.keys()):
        lent |= {name: value for name, value in web.items() if not given.get(name)}
    return lent


def _set(environ: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    found = {name: environ.get(variable, "").strip() for name, variable in names.items()}
    return {name: value for name, value in found.items() if value}


def _container_of(environ: Mapping[str, str]) -> aws_keys.Container | None:
    """Return the agent that a container's environment names. The whole URI counts where there is no other."""
    said = {name: environ.get(f"AWS_CONTAINER_{name}", "").strip() or None for name in _AGENT}
    relative, whole, token, file = (said[name] for name in _AGENT)
    if relative is not None:
        return aws_keys.Container(aws_keys.AGENT + relative)
    return None if whole is None else aws_keys.Container(whole, token, file)


def _on_aws(source: Mapping[str, Any]) -> google_aws.Workload:
    """Return who signs for a workload of AWS: whoever AWS's tools find, at the machine that the source names."""
    region = _set(os.environ, {"aws_region": "AWS_DEFAULT_REGION"}) | _set(os.environ, {"aws_region": "AWS_REGION"})
    machine, named, _ = str(source.get("url") or "").partition("/latest/")
    found = AwsCredentials.model_validate(region | ({"aws_ec2_metadata_url": machine} if named else {}))
    told = found.aws_region if "aws_region" in found.model_fields_set else None
    return google_aws.Workload(found._keys(), told)  # noqa: SLF001 - of this module


def _google_account(text: SecretStr) -> SecretStr:
    """Return the JSON of an account, given as text or as the path of a file."""
    clear = text.get_secret_value().strip()
    if not clear.startswith("{"):
        clear = from_file(clear, "is neither JSON nor the path of a file that can be read")
    google_defaults.read(clear)
    return SecretStr(clear)


class GoogleCredentials(HostCredentials):
    """An account of Google Cloud: a service account, an access token that somebody else renews, or the machine's own.

    `vertex_service_account_json` may be that of any account; without it, and without a token, application default
    credentials are found as Google's tools find them: a file, then the machine's metadata server. See `borrowed`.
    """

    api_key: Key | None = None
    """An access token that somebody else renews. Example: os.environ/GOOGLE_ACCESS_TOKEN"""
    vertex_project_id: Name
    """The project. Example: my-project"""
    vertex_region: Name = "global"
    """The location of the jobs."""
    vertex_service_account_json: Annotated[SecretStr, AfterValidator(_google_account)] | None = None
    """The JSON of an account, or the path of one; none, and no `api_key`: the machine's own. Example:
    os.environ/VERTEXAI_CREDENTIALS
    """
    google_token_url: Url = google.TOKENS
    """Who gives tokens for a service account's assertion."""
    google_metadata_url: Url | None = None
    """The machine's metadata service, which gives tokens of its account. Example: http://metadata.google.internal"""
    _machines: bool = PrivateAttr(False)
    _workload: google_aws.Workload | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _from_machine(cls, given: Any, made: ModelWrapValidatorHandler[Self]) -> Self:
        """Without any proof what the machine has counts."""
        names = ("api_key", "vertex_service_account_json")
        if not isinstance(given, dict) or any(given.get(name) for name in names):
            return made(given)
        text = None if given.get("google_metadata_url") else google_defaults.found(os.environ)
        lent = {names[1]: text} if text else {"google_metadata_url": google_defaults.machine(os.environ)}
        account = made(lent | given)
        account._machines = True  # noqa: SLF001 - of this class
        return account

    @model_validator(mode="after")
    def _one_proof(self) -> GoogleCredentials:
        if self.api_key is not None and self.vertex_service_account_json is not None:
            raise ValueError("give one of vertex_service_account_json and api_key, which is an access token")
        if (text := self.vertex_service_account_json) is not None:
            source = google_defaults.source_on_aws(text.get_secret_value())
            self._workload = None if source is None else _on_aws(source)
        return self

    def borrowed(self) -> str | None:
        """Name the setting for which the machine lends what proves the account, or that names hosts and files."""
        json = self.vertex_service_account_json
        other = json is not None and google_defaults.kind_of(json.get_secret_value()) != google_defaults.SERVICE_ACCOUNT
        return "vertex_service_account_json" if self._machines or other else None

    def identity(self) -> tuple[str, ...]:
        """Return texts that are equal for equal accounts; they hold secrets."""
        proof = self.api_key or self.vertex_service_account_json
        return (self.vertex_project_id, self.vertex_region, clear(proof) or f"machine {self.google_metadata_url}")

    def prove(self, http: Http) -> Proof:
        """Return what proves the account: a token."""
        if self.api_key is not None:
            return bearer(self.api_key)
        if self.vertex_service_account_json is None:
            return {}, Bearer(http, google_defaults.Machine(self.google_metadata_url or google_defaults.MACHINE))
        text = self.vertex_service_account_json.get_secret_value()
        return {}, Bearer(http, google_defaults.source_of(text, self.google_token_url, self._workload))


def clear(secret: SecretStr | None) -> str:
    """Return a secret's text, "" for none."""
    return "" if secret is None else secret.get_secret_value()
