"""One batch of a gateway, as an object to wait for and to go through."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxy_plugin.client import drawing
from proxy_plugin.client.answers import LineAnswer, answers
from proxy_plugin.client.connecting import transport
from proxy_plugin.client.lines import CHAT, Make, Recipe, write
from proxy_plugin.commands.connection import Transport
from proxy_plugin.commands.gateway import Remote
from proxy_plugin.commands.input_file import FileForm, InputFile
from proxy_plugin.commands.problems import CommandError, Misuse, Refused, Unreachable, interrupted_says
from proxy_plugin.commands.session import header
from proxy_plugin.commands.watching import FIRST_PAUSE, GROWTH, LONGEST_PAUSE, PATIENCE, counts, ended
from proxy_plugin.commands.wording import JSON, clean

OLD = 2.0  # seconds after which what is known of a running batch is asked for again before it is drawn
DRAW_SECONDS = 5.0  # a notebook waits for an answer before it draws what it has


class Batch:
    """A batch that runs whether or not this object lives; `open` finds it again by its id.

    `await batch`, or `batch.wait()` in a script, returns it when it has ended. To go through it gives a `LineAnswer`
    for each line, in the order of the input; while it runs, those that are there. All calls raise CommandError:
    Misuse, Unreachable or Refused, with a sentence that says what to do.
    """

    def __init__(self, way: Transport, remote: Remote, found: JSON) -> None:
        self._way, self._remote = way, remote
        self._found, self._seen = found, time.monotonic()

    @classmethod
    def submit(  # noqa: PLR0913 - each may be left out
        cls,
        lines: Iterable[Any] | Path | str,
        *,
        model: str | None = None,
        endpoint: str = CHAT,
        body: Make | None = None,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        completion_window: str = "24h",
        idempotency_key: str | None = None,
        **where: Any,
    ) -> Batch:
        """Upload lines and make a batch of them, once.

        `lines` are texts, lists of messages, whole lines (mappings with `body`), the rows of a table of pandas or
        polars with a column `prompt`, `messages` or `input`, or the path of a JSONL file. `body` makes the body of a
        row of anything else, `parameters` go into every body that is made. `where` is what `connecting.transport`
        takes: base_url, api_key, and one of virtual_key, provider and config.

        Every call makes a batch of its own, also when a cell of a notebook is run again. With an `idempotency_key` a
        second call within a day returns the first one's batch.
        """
        way, key = transport(**where), _key(idempotency_key)
        remote = Remote(way)
        order: JSON = {"endpoint": endpoint, "completion_window": completion_window}
        order |= {"metadata": dict(metadata)} if metadata else {}
        recipe = Recipe(endpoint, model, system, dict(parameters or {}), body)
        order["input_file_id"] = _uploaded(remote, lines, recipe)
        return cls(way, remote, _created(remote, order, key))

    @classmethod
    def open(cls, batch_id: str, **where: Any) -> Batch:
        """Return a batch that was made before; `where` as for `submit`."""
        way = transport(**where)
        remote = Remote(way)
        return cls(way, remote, remote.batch(batch_id))

    @property
    def id(self) -> str:
        """Return its id, which `open` and the command line take."""
        return str(self._found["id"])

    @property
    def status(self) -> str:
        """Return OpenAI's status, as it was when it was last asked for."""
        return clean(self._found.get("status"))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return how many lines it has, and how many of them are completed and failed."""
        return counts(self._found)

    @property
    def cost(self) -> float | None:
        """Return US dollars, None while they are not known."""
        found = self._found.get("cost")
        return float(found) if isinstance(found, int | float) else None

    @property
    def ended(self) -> bool:
        """Tell whether its status is its last."""
        return ended(self._found)

    @property
    def json(self) -> JSON:
        """Return the batch as the gateway last told it."""
        return dict(self._found)

    def refresh(self) -> Batch:
        """Ask the gateway how far it is."""
        return self._now(self._remote.batch(self.id))

    def wait(self) -> Batch:
        """Return it when it has ended; for scripts. A gateway that is away is borne with for five minutes."""
        following = _Following(self)
        while not self.ended:
            time.sleep(following.pause())
            following.look()
        return self

    def __await__(self) -> Generator[Any, None, Batch]:
        return self._until_ended().__await__()

    async def _until_ended(self) -> Batch:
        following, show = _Following(self), drawing.shown(self)
        while not self.ended:
            await asyncio.sleep(following.pause())
            await asyncio.to_thread(following.look)
            show()
        return self

    def __iter__(self) -> Iterator[LineAnswer]:
        return answers(self._remote.output(self.id))

    def cancel(self) -> Batch:
        """Ask for it to be cancelled; what has run is kept."""
        return self._now(self._remote.cancel(self.id))

    def retry(self, idempotency_key: str | None = None) -> Batch:
        """Make a batch of the lines that failed, and return that one."""
        key = _key(idempotency_key)
        self.refresh()  # tells whether the gateway is ours, and so whether the key is honoured
        return Batch(self._way, self._remote, self._remote.retry(self.id, key, []))

    def __repr__(self) -> str:
        return drawing.plain(self._found)

    def _repr_html_(self) -> str:
        """Return how far it is, for a notebook: of now, unless the gateway does not say so soon."""
        note = None
        if not self.ended and time.monotonic() - self._seen > OLD:
            try:
                self._now(self._way.call("GET", f"/batches/{self.id}", seconds=DRAW_SECONDS))
            except CommandError as problem:
                note = f"as it was {time.monotonic() - self._seen:.0f} s ago: {problem}"
        return drawing.html(self._found, note)

    def _now(self, found: JSON) -> Batch:
        self._found, self._seen = found, time.monotonic()
        return self


class _Following:
    """Asks again and again, with growing pauses; bears with a gateway that is away for a while."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._pause = batch, FIRST_PAUSE
        self._away_since: float | None = None

    def pause(self) -> float:
        """Return the seconds until the next look."""
        pause, self._pause = self._pause, min(self._pause * GROWTH, LONGEST_PAUSE)
        return pause

    def look(self) -> None:
        """Ask once. Raises CommandError for what does not pass."""
        try:
            self._batch.refresh()
        except (Unreachable, Refused) as problem:
            now = time.monotonic()
            self._away_since = now if self._away_since is None else self._away_since
            if (isinstance(problem, Refused) and not problem.passing) or now - self._away_since > PATIENCE:
                raise
        else:
            self._away_since = None


def _key(given: str | None) -> str:
    return header(given, "idempotency_key") if given else secrets.token_hex(16)


def _uploaded(remote: Remote, lines: Iterable[Any] | Path | str, recipe: Recipe) -> str:
    """Upload the lines and return the file's id; a key or an account that is refused is told before."""
    with tempfile.TemporaryDirectory(prefix="proxy-plugin-") as folder:
        path = _file(lines, Path(folder), recipe)
        remote.probe()
        with InputFile(path) as file:
            return remote.upload(FileForm(file), lambda _: None)


def _file(lines: Iterable[Any] | Path | str, folder: Path, recipe: Recipe) -> Path:
    """Return the JSONL file of the lines. A text is the path of one: prompts come in a list."""
    if isinstance(lines, str | Path):
        if recipe.model or recipe.make or recipe.system or recipe.parameters:
            raise Misuse("the lines of a file are sent as they are: model, body, system and parameters go with others.")
        return Path(lines)
    path = folder / "lines.jsonl"
    with path.open("xb") as file:
        write(lines, file, recipe)
    return path


def _created(remote: Remote, order: JSON, key: str) -> JSON:
    """Make the batch. The upload goes where nothing needs it: an earlier call with the key has one of its own."""
    uploaded = order["input_file_id"]
    try:
        with interrupted_says("interrupted: the batch may have been made; `proxy-plugin batch list` shows it."):
            found = remote.create(order, key)
    except Refused:
        _discard(remote, uploaded)
        raise
    if remote.ours is True and found.get("input_file_id") not in (None, uploaded):
        _discard(remote, uploaded)
    return found


def _discard(remote: Remote, file_id: str) -> None:
    with suppress(CommandError):
        remote.delete_file(file_id)
