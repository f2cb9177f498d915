"""Profiles of `~/.aws`: keys, a role and what may take it, a web identity, a region, as AWS's tools find them.

Sources: "AWS SDKs and Tools Reference Guide": shared config and credentials files, `source_profile`,
`credential_source`; the order of botocore 1.44.5 (`credentials.py`). They are read with the settings: keys that another
tool writes anew need a restart, a role or an identity renews itself. What asks a person or runs a program is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path

CREDENTIALS, CONFIG, PROFILE = "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE"
DEFAULT = "default"
_PLACES = {CREDENTIALS: "~/.aws/credentials", CONFIG: "~/.aws/config"}
_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_FIELDS = {
    "role_arn": "aws_role_arn",
    "external_id": "aws_external_id",
    "role_session_name": "aws_role_session_name",
    "web_identity_token_file": "aws_web_identity_token_file",
    "region": "aws_region",
}
_REFUSED = ("credential_process", "sso_session", "sso_start_url", "login_session", "mfa_serial")


def found(environ: Mapping[str, str], asked: str | None = None) -> dict[str, str]:
    """Return what a profile says, as settings of an account; {} where there is no file, or none is asked for.

    Raises ValueError for a profile that is named and not there, and for one that needs a person or a program.
    """
    named = asked or environ.get(PROFILE, "").strip()
    profiles = _profiles(environ)
    if (profile := profiles.get(named or DEFAULT)) is None:
        if named:
            raise ValueError(f"there is no profile {named} in the files of AWS (~/.aws)")
        return {}
    told = {ours: profile[theirs] for theirs, ours in _FIELDS.items() if profile.get(theirs)}
    keys = profile
    if told.get("aws_role_arn") and (source := profile.get("source_profile")):
        keys = profiles.get(source, {})
        if source != (named or DEFAULT) and keys.get("role_arn"):
            raise ValueError(f"the profile {source} takes a role itself: a role is taken with keys")
    for each in (profile, keys):
        if other := next((name for name in _REFUSED if each.get(name)), None):
            raise ValueError(f"{other} of the profile {named or DEFAULT} is not supported: give keys or a role")
    return told | {name: keys[name] for name in _KEYS if keys.get(name)}


def _profiles(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return all profiles by name. The file of credentials counts where both say something."""
    made = dict[str, dict[str, str]]()
    for variable in (CONFIG, CREDENTIALS):
        given = environ.get(variable, "").strip()
        for title, section in _read(given or _PLACES[variable], variable if given else "").items():
            kind, _, name = title.partition(" ")
            if variable == CREDENTIALS or title == DEFAULT:
                name = title
            elif kind != "profile":
                continue  # sso-session, services
            made.setdefault(name.strip().strip("\"'"), {}).update(section)
    return made


def _read(path: str, named: str) -> dict[str, dict[str, str]]:
    """Return the sections of a file, {} for one that is not there."""
    parser = ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        parser.read_string(Path(path).expanduser().read_text("utf-8"))
    except (OSError, RuntimeError):  # the last for no home
        if named:
            raise ValueError(f"{named} names no file that can be read") from None
    except (Error, UnicodeError):
        raise ValueError(f"{path} is no file of profiles") from None
    return {title: {name: value.strip() for name, value in parser[title].items()} for title in parser.sections()}
