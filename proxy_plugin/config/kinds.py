"""What all sections of the configuration are made of: their base, and the kinds of values in them.

A text below a setting says what it means and, after `Example:`, a value to copy. `docs/settings.md` and the schema for
editors are made of these texts; nothing reads them while the gateway runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

SLUG = re.compile(r"[A-Za-z0-9._-]{1,64}")


def base_url(text: str) -> str:
    """Refuse what is no base URL, and a password in it: it would be shown and logged."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be an absolute http or https URL")
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("may not hold a user name, a password, a query or a fragment")
    return text


def named(path: object) -> object:
    """Refuse an empty path, which a variable without a value makes: it would be the working directory."""
    if path == "":
        raise ValueError("is empty; name a folder")
    return path


BaseUrl = Annotated[str, AfterValidator(base_url)]
Folder = Annotated[Path, BeforeValidator(named)]
Slug = Annotated[str, Field(pattern=rf"^{SLUG.pattern}$")]
VirtualKeyGlobs = tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._*?\[\]!-]{1,64}$")], ...]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
HostEntry = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.:\[\]_-]+$")]


class Settings(BaseModel):
    """Base of all sections: a misspelt setting is an error, and errors never show what was set."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
