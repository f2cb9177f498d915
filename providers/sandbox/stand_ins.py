"""Every stand-in as data: one record each, from which gateways, tests and benchmarks derive what they know of it.

A folder beside this file with a `stand_in.py`, whose `STAND_IN` is the record, is all that makes a stand-in known. The
records import no server; the process that hosts a stand-in imports its dialect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from proxy_plugin.providers.sandbox.answers import Style
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY


def bearer(key: str) -> dict[str, str]:
    """The headers of a client whose key is a bearer token."""
    return {"authorization": f"Bearer {key}"}


def key_and_host(url: str, key: str) -> dict[str, str]:
    """The settings of a virtual key whose credential is one API key."""
    return {"api_key": key, "custom_host": url}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """One stand-in. Paths are relative to its base URL, operations are named as in fault rules and logs.

    Every dialect of this folder calls those of its jobs `batches.create`, `.list`, `.retrieve` and `.cancel`.
    """

    provider: str  # the name under which it is served
    dialect: str  # `module:CLASS`, see `dialect.Dialect`
    like: str = ""  # whose dialect it is, when it is served under the name of a vendor that copies the API
    models: tuple[str, ...]  # that lines may name; where a job takes one model alone, they are in jobs of their own
    endpoint: str = "/v1/chat/completions"
    any_model: bool = True  # may lines name a model that another provider has?
    settings: Callable[[str, str], Mapping[str, Any]] = key_and_host  # of a virtual key, made of base URL and key
    options: Mapping[str, Any] = field(default_factory=dict)  # more of a virtual key: what short test files need
    headers: Callable[[str], Mapping[str, str]] = bearer  # of another client of the account, made of its key
    root: str = "/v1"  # what of the path belongs to the base URL, below the provider's name
    jobs: str = "batches"  # the path of the jobs
    creates: str = ""  # that of a create, where it is another
    one: str = ""  # that of one of them without its id, where it is another
    newest: str = "?limit=1"  # how the newest of them is asked for before a create; "": it is not
    uploads: str = ""  # the path to which the document of a job goes before its create; "": it is in the create
    revoked: bool = True  # of what is uploaded: is it taken away before a lost create is sent again?
    create: str = "batches.create"
    judges: str = "batches.create"  # the operation with which a document comes that may be refused
    cancel: str = "batches.cancel"
    results: str
    ended: str = "completed"  # what `/_sandbox/jobs` says of a job that has run to its end
    stop: str = "/cancel"  # behind the path of a job: it is cancelled
    files: str = "files"  # the path of the files, where results are some
    expires_empty: bool = False  # does a job that its provider lets expire show nothing of what it did?
    says_cancelling: bool = True  # does a job tell that it is being cancelled?
    late_cancel: int = 409  # the status that answers the cancel of a job that has ended; 0: none is asked for
    free: tuple[str, ...]  # operations of every run that cost nothing, so that they may be repeated
    moves: tuple[str, ...] = ()  # those of them that are answered with a redirect
    lookup: str = "batches.list"  # the operation that looks for a lost create
    doubted: tuple[str, ...] = ()  # operations that are called for only when the outcome of another is unknown
    traits: Mapping[str, Any] = field(default_factory=dict)  # options in which a vendor's copy differs from the start
    quick: Mapping[str, Any]  # options with which a job takes a small part of a second
    late: tuple[str, ...] = ()  # options: so many looks at the results of a job that has ended find none yet
    counters: tuple[str, str] = ("completed", "failed")  # of a job, as the option `told_counts` has them
    counted: bool = True  # does a job tell such counts?
    unlimited: Mapping[str, Any] = field(default_factory=dict)  # options without which many jobs at once are refused
    answers: Style = "echo"  # which of its answers tells most: "digest" where bodies of lines reach it as they are
    labelled: bool = True  # do its jobs carry the client's label?
    names_lines: bool = True  # can the number of a line be believed that it gives with a refusal?
    errors_paid: bool = True  # is a line that is answered with an error paid for?
    lacks: Mapping[str, str] = field(default_factory=dict)  # scenes and tests of others that cannot be here -> why
    unlike: Mapping[str, str] = field(default_factory=dict)  # tests of `tests/whole/lanes` that cannot be here -> why
    leaves: bool = False  # are there objects of jobs until the lane takes them away? `/_sandbox/left` tells
    partial: bool = True  # does a job that is cancelled half-way keep the answers it has?
    rests: bool = True  # do lines that did not run have rows, which say so?

    @property
    def model(self) -> str:
        """A model that its lines may name."""
        return self.models[0]

    @property
    def calls(self) -> frozenset[str]:
        """All operations that a lane needs."""
        return frozenset((self.create, self.cancel, *self.free, *self.doubted))

    @property
    def served(self) -> str:
        """What `process.Sandbox` is told to serve."""
        return f"{self.provider}={self.like}" if self.like else self.provider

    def under(self, provider: str, **facts: Any) -> "StandIn":
        """The record of a vendor that copies this one's API; `facts` are those in which it differs."""
        return replace(self, provider=provider, like=self.like or self.provider, **facts)

    def virtual_key(self, url: str, key: str = DEFAULT_KEY, **options: Any) -> dict[str, Any]:
        """The settings of a virtual key whose account is at this stand-in at `url`."""
        return {"provider": self.provider, **self.settings(url, key), **self.options, **options}


@cache
def names() -> tuple[str, ...]:
    """The names of all stand-ins."""
    folders = (path.parent.name for path in Path(__file__).parent.glob("*/stand_in.py"))
    return tuple(sorted(folder.replace("_", "-") for folder in folders))


def find(name: str) -> StandIn:
    """The record of a stand-in, also of one that is another's under a vendor's name. Raises `LookupError`."""
    if name not in names():
        if copy := copies().get(name):
            return copy
        known = ", ".join([*names(), *copies()])
        raise LookupError(f"the sandbox has no stand-in for {name}; it has {known}")
    module = import_module(f"proxy_plugin.providers.sandbox.{name.replace('-', '_')}.stand_in")
    return cast("StandIn", module.STAND_IN)


@cache
def copies() -> Mapping[str, StandIn]:
    """The records of vendors that copy an API, by name: `COPIES` of a module `copies.py` beside a `stand_in.py`."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/copies.py"))
    modules = (import_module(f"proxy_plugin.providers.sandbox.{folder}.copies") for folder in folders)
    return {each.provider: each for module in modules for each in module.COPIES}


def every() -> tuple[StandIn, ...]:
    """The records of all stand-ins of their own, by name."""
    return tuple(map(find, names()))
