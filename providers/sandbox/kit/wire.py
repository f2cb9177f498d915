"""What the dialects of this kit have in common: a bearer key, files, jobs, strangers, strict reading of requests."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.kit.files import File, Files
from proxy_plugin.providers.sandbox.kit.jobs import Job, Jobs, Options
from proxy_plugin.providers.sandbox.kit.lines import JSON, Form, dumps, mark_of
from proxy_plugin.providers.sandbox.kit.links import Links
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply
from proxy_plugin.providers.sandbox.settings import Settings
from proxy_plugin.providers.sandbox.strangers import crowded, seconds_of

LONGEST_BODY = 64 * 1024 * 1024  # bytes of a JSON request
STRANGERS = frozenset({"account", "batches", "lines", "model", "run_seconds"})
Deed = Callable[[Any], Awaitable[Reply]]


class Wire:
    """See `dialect.Dialect`. A wire says what its requests and answers look like; the rest is here."""

    credentials = frozenset({"authorization"})
    form: Form
    options_type: type[Options] = Options
    invalid = 422  # the status that answers what cannot be understood
    everywhere: Collection[str] = ()  # parameters that every request may have

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self.name, self.prefix = services.name, self.prefix_of(services)
        self.services, self._settings = services, Settings(self.options_type(), options)
        self.files = Files(services, self.new_file_id, self.keeps)
        self.links = Links(services, self.files, self.prefix)
        self.jobs_ = Jobs(services, self.form, self.new_job_id, self.problem, self.publish)
        self.routes: Sequence[Route] = [*crowded(self.own_routes(), self._crowd), *self.links.routes()]

    # What a wire has of its own.

    def own_routes(self) -> list[Route]:
        """Its routes."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> JSON:
        """The body of an error."""
        raise NotImplementedError

    def prefix_of(self, services: Services) -> str:
        """The path under which its routes are."""
        return services.prefix

    def new_file_id(self) -> str:
        """A file's id."""
        return f"file-{secrets.token_hex(12)}"

    def new_job_id(self) -> str:
        """A job's id."""
        return f"batch_{secrets.token_hex(12)}"

    def keeps(self, file: File) -> bool:  # noqa: ARG002
        """Whether a file is there still."""
        return True

    def no_file(self, file_id: object) -> Refused:
        """The answer where a file is not there."""
        return self.refused(404, f"No file matches {file_id}")

    def problem(self, job: Job) -> str | None:  # noqa: ARG002
        """Why a job fails whatever its lines are."""
        return None

    async def publish(self, job: Job) -> None:
        """Make the results of a job that is over."""

    def strangers_line(self, model: str) -> JSON:
        """A line of somebody else's file."""
        raise NotImplementedError

    def strangers_order(self, file: File, model: str) -> JSON:
        """The create of somebody else's job."""
        raise NotImplementedError

    # A dialect.

    @property
    def current(self) -> Any:
        """The options in force."""
        return self._settings.current

    def account(self, request: web.Request) -> str | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self.services.accounts.of(key) if scheme == "Bearer" else None

    def admit(self, request: web.Request) -> str:
        if (account := self.links.bearer(request) or self.account(request)) is None:
            raise self.unauthorized(given=any(name in request.headers for name in self.credentials))
        if request.headers.get("content-encoding", "identity") != "identity":
            raise self.refused(415, "Request bodies must not be compressed.")
        return account

    def unauthorized(self, *, given: bool) -> Refused:
        """The answer to a key that nobody has."""
        return self.refused(401, "Invalid API Key" if given else "No API key was provided")

    def refusal(self, status: int, message: str, code: str | None) -> Reply:  # noqa: ARG002
        return json_reply(self.error(status, message), status)

    def refused(self, status: int, message: str) -> Refused:
        """The same, to be raised."""
        return Refused(json_reply(self.error(status, message), status))

    def headers(self) -> Mapping[str, str]:
        return {}

    def not_found(self, request: web.Request) -> Reply:  # noqa: ARG002
        return self.refusal(404, "Not Found", None)

    def jobs(self) -> list[dict[str, Any]]:
        now = self.services.clock.now()
        return [
            {**job.facts(now, errors_paid=self.form.errors_paid), **self.labels(job)} for job in self.jobs_.all.values()
        ]

    def labels(self, job: Job) -> dict[str, Any]:
        """What a job shows of the client's label, for the logs: `metadata`, as OpenAI has it."""
        return {"metadata": job.order.get("metadata")}

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.change(changes)

    def reset(self) -> None:
        self.files.reset()
        self.links.reset()
        self.jobs_.all.clear()
        self._settings.reset()

    async def strangers(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """`wish`: account, batches (1), lines of each (1), model, run_seconds; those of 0 have ended at the return."""
        account, seconds = wish.get("account"), seconds_of(wish)
        if set(wish) - STRANGERS or not isinstance(account, str):
            raise ValueError(f"strangers need an account and know {', '.join(sorted(STRANGERS))}")
        made, model = [], str(wish.get("model", "strangers-model"))
        for _ in range(int(wish.get("batches", 1))):
            file = self.files.new(account, "stranger.jsonl")
            lines = [dumps(self.strangers_line(model)) + b"\n" for _ in range(int(wish.get("lines", 1)))]
            await asyncio.to_thread(file.path.write_bytes, b"".join(lines))
            file.lines = len(lines)
            order = self.strangers_order(self.files.add(file), model)
            job, life = self.jobs_.strangers(account, order, file.path, self.current, seconds)
            if seconds == 0:
                await life
            made.append(job.id)
        return {"batches": made}

    async def _crowd(self, account: str) -> None:
        crowd = self.current.strangers_on_list
        for wish in crowd.wishes(account) if crowd else ():
            await self.strangers(wish)

    # Reading requests. Each raises `Refused`.

    async def body(self, request: web.Request, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Any]:
        """The JSON object of a request that has these members, and no others than the known ones."""
        value = await self.read(request)
        if unknown := set(value) - set(known):
            raise self.refused(self.invalid, f"{min(unknown)}: Extra inputs are not permitted")
        if missing := set(needed) - set(value):
            raise self.refused(self.invalid, f"{min(missing)}: Field required")
        return value

    async def read(self, request: web.Request) -> dict[str, Any]:
        """The JSON object of a request."""
        if request.content_type != "application/json":
            raise self.refused(self.invalid, "The content type must be application/json")
        raw = bytearray()
        async for chunk in request.content.iter_any():
            raw += chunk
            if len(raw) > LONGEST_BODY:
                raise self.refused(413, "The request body is too large")
        try:
            value = json.loads(raw.decode())
        except (ValueError, RecursionError):
            raise self.refused(self.invalid, "JSON decode error") from None
        if not isinstance(value, dict):
            raise self.refused(self.invalid, "Input should be a valid dictionary")
        return value

    def query(self, request: web.Request, known: Collection[str], repeated: Collection[str] = ()) -> Mapping[str, str]:
        """The parameters of a request that has no others: whoever sends one expects something that will not happen."""
        for name in request.query:
            if name not in {*known, *self.everywhere} or (len(request.query.getall(name)) > 1 and name not in repeated):
                raise self.refused(self.invalid, f"{name}: Extra inputs are not permitted")
        return dict(request.query)

    def number(self, given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
        """A whole number within its bounds."""
        text = str(given.get(name, default))
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise self.refused(self.invalid, f"{name}: Input should be a whole number from {least} to {most}")
        return int(text)

    def metadata(self, given: Any) -> None:
        """Refuse metadata that are not text to text."""
        texts = isinstance(given, dict) and all(isinstance(each, str) for each in given.values())
        if given is not None and not texts:
            raise self.refused(self.invalid, "metadata: Input should be a dictionary of texts")

    def about_file(
        self, deed: Callable[[File], Reply], known: Collection[str] = ()
    ) -> Callable[[web.Request, str], Awaitable[Act]]:
        """A route about `{file_id}`, whose query may have these parameters."""

        async def prepare(request: web.Request, account: str) -> Act:
            self.query(request, known)

            async def act() -> Reply:
                return deed(self.stored(account, request.match_info["file_id"]))

            return act

        return prepare

    def about_job(
        self, deed: Callable[[Job, Mapping[str, str]], Reply], known: Collection[str] = ()
    ) -> Callable[[web.Request, str], Awaitable[Act]]:
        """A route about `{batch_id}`; the deed is told the query, which may have these parameters."""

        async def prepare(request: web.Request, account: str) -> Act:
            query = self.query(request, known)

            async def act() -> Reply:
                if (job := self.jobs_.find(account, request.match_info["batch_id"])) is None:
                    raise self.refused(404, f"No batch matches {request.match_info['batch_id']}")
                return deed(job, query)

            return act

        return prepare

    def stored(self, account: str, file_id: object) -> File:
        """A file of this account."""
        if (file := self.files.find(account, file_id)) is None:
            raise self.no_file(file_id)
        return file

    async def hidden(self, account: str, lines: Sequence[Any]) -> File:
        """The lines of a create, as a file that nobody sees."""
        file = self.files.new(account)
        file.lines = len(lines)
        await asyncio.to_thread(_write, file.path, [dumps(line) for line in lines])
        return file

    async def write(self, job: Job, rows: list[bytes], filename: str = "", file_id: str = "") -> File:
        """Show a file of these rows."""
        file = self.files.new(job.account, filename, file_id)
        await asyncio.to_thread(_write, file.path, rows)
        return self.files.add(file)

    async def mark(self, file: File) -> str | None:
        """The mark that all lines of a file share, for the logs."""
        return await self.services.work.run(file.size, mark_of, file.path) if file.path.exists() else None

    async def two_files(self, job: Job) -> None:
        """Write the answers and the errors of a job into a file each, where there are any; `job.files` names them."""
        rows = list(job.results(self.form))
        answered = any(200 <= row.status < 300 for row in job.rows[: job.done or 0])
        for name, well in (("output", True), ("error", False)):
            kept = [text for good, text in rows if good is well]
            if kept or (well and answered):
                job.files[name] = (await self.write(job, kept, f"{job.id}_{name}.jsonl")).id


def acting(reply: Reply) -> Act:
    """The act that has nothing to do but to answer."""

    async def act() -> Reply:
        return reply

    return act


def shown(value: Any, status: int = 200, subject: str | None = None) -> Act:
    """The act that answers with JSON."""
    return acting(json_reply(value, status, subject=subject))


def stamp(moment: float | None) -> str | None:
    """RFC 3339 in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(path: Path, rows: list[bytes]) -> None:
    path.write_bytes(b"".join(row + b"\n" for row in rows))
