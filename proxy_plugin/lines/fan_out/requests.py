"""A line that asks for several answers (`n`, a list of prompts or of inputs), as requests for one answer each.

Which lines are: those that a lane refuses for `n`, `prompt` or `input`, and takes without. A lane that gives several
answers gets the line as it is. The requests stand one behind the other in one document, in the order of their answers:
of each prompt the first, the second, up to the `n`th, as OpenAI numbers its choices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from msgspec import structs

from proxy_plugin.lines.fan_out.texts import entries, members, object_of
from proxy_plugin.providers.base import LineIn, LineRejected, Native, request_id

# Where there may be several answers: what asks for them, a number of them first, and a list of texts last.
_ASKING = {
    "/v1/chat/completions": ("n", ""),
    "/v1/completions": ("n", "prompt"),
    "/v1/embeddings": ("", "input"),
}
MOST_ANSWERS = 128  # to one prompt, as at OpenAI ("Create chat completion", `n`)
MOST_REQUESTS = 1_000  # of one line: two base-36 digits name up to 1,295
MOST_BYTES = 256 * 2**20  # of the requests of one line, which are held together
_HALF = 2**30  # seeds of 32 bits are taken everywhere, so those behind it count down
HINT = (
    " Or add 'fan_out: true' to the config of the batch (x-portkey-config: {\"fan_out\": true}): each answer is then"
    " asked for, and paid, as a request of its own, and one row has them all."
)


class Fan(NamedTuple):
    """The requests of a line: each body, one a prompt or input, so many `times`."""

    bodies: tuple[bytes, ...]
    times: int

    @property
    def requests(self) -> int:
        """Return how many they are."""
        return len(self.bodies) * self.times

    @property
    def bytes(self) -> int:
        """Return how many the bodies of all requests have together."""
        return sum(map(len, self.bodies)) * self.times


_NOTHING = Fan((), 1)


class Fanned(Native, frozen=True, gc=False):
    """The records of one line with what stands between them; `inputs` are those of all. `longest`: bytes of one."""

    fan: Fan = _NOTHING
    longest: int = 0


def requests_of(native: Native) -> int:
    """Return how many requests a line is."""
    return native.fan.requests if isinstance(native, Fanned) else 1


def check_requests(native: Native, most: int | None) -> None:
    """Raise LineRejected for a line of more requests than a job may have."""
    if most is not None and (requests := requests_of(native)) > most:
        message = f"The line is {requests} requests, and a job has at most {most} (max_lines). Ask for fewer answers."
        raise LineRejected(message, code="too_many_answers", param="body")


def longest_of(native: Native) -> int:
    """Return how many bytes the longest record of a line has."""
    return native.longest if isinstance(native, Fanned) else len(native.data)


def fan_of(native: Native, body: bytes) -> Fan:
    """Return what is asked for a line whose body is `body`."""
    return native.fan if isinstance(native, Fanned) else Fan((body,), 1)


class Asking:
    """A line that its lane refuses, and how it would be asked in several requests.

    `separator` stands between them. `whole` makes of a refusal, the line and its translation one that names all.
    """

    def __init__(
        self,
        line: LineIn,
        separator: bytes,
        translate: Callable[[LineIn], Native],
        whole: Callable[[LineRejected, LineIn, Callable[[LineIn], Native]], LineRejected],
    ) -> None:
        self._line, self._separator, self._translate, self._whole = line, separator, translate, whole

    def instead(self, first: LineRejected, *, fan_out: bool) -> Fanned:
        """Return the line as requests for one answer each, where that is wanted.

        Raises LineRejected: all that is refused, also of one of them; or that they are too many. Where it would help,
        it says how it can be wanted.
        """
        if fan_out and (fan := self._fan(first.params)) is not None:
            return self._several(fan, set(first.params))
        whole = self._whole(first, self._line, self._translate)
        if not fan_out:
            raise self._hinted(whole) from None
        if (fan := self._fan(whole.params)) is None:
            raise whole from None
        return self._several(fan, set(whole.params))

    def _several(self, fan: Fan, refused: set[str]) -> Fanned:
        while True:
            try:
                return _fanned(self._line, fan, self._separator, self._translate)
            except LineRejected as later:
                refused |= set(later.params)
                more = self._fan(refused)
                if more is None or more == fan:
                    raise self._whole(later, structs.replace(self._line, body=fan.bodies[0]), self._translate) from None
                fan = more

    def _fan(self, refused: Collection[str]) -> Fan | None:
        return _fan(self._line.endpoint, self._line.body, refused)

    def _hinted(self, refusal: LineRejected) -> LineRejected:
        try:
            helps = self._fan(refusal.params) is not None
        except LineRejected:
            helps = False
        if not helps:
            return refusal
        code, param, params, codes = refusal.code, refusal.param, refusal.params, refusal.codes
        return LineRejected(refusal.message + HINT, code=code, param=param, params=params, codes=codes)


def _fan(endpoint: str, body: bytes, refused: Collection[str]) -> Fan | None:
    """Return the requests of a line whose parameters `refused` are not taken; None where they would not help.

    Raises LineRejected where they are too many.
    """
    number, name = _ASKING.get(endpoint, ("", ""))
    names = {param.removeprefix("body.") for param in refused} & {number, name}
    if not names:
        return None
    try:
        asked = members(body)
    except ValueError:
        return None
    times = max(_whole(asked.get("n")) or 1, 1) if number in names else 1
    texts = _texts(asked.get(name)) if name in names else []
    if len(texts) < 2 and times < 2:
        return None
    _check(times, max(len(texts), 1), name or "n")
    if times > 1:
        _take_out(asked, times)
    if len(texts) < 2:
        return Fan((object_of(asked),), times)
    return Fan(tuple(object_of(asked | {name: text}) for text in texts), times)


def _take_out(asked: dict[str, bytes], times: int) -> None:
    """Take out what asks for so many answers. As many of `best_of` leave nothing to choose."""
    del asked["n"]
    if _whole(asked.get("best_of")) == times:
        del asked["best_of"]


def _check(times: int, texts: int, name: str) -> None:
    if times > MOST_ANSWERS:
        message = f"n: a line is fanned out to at most {MOST_ANSWERS} answers to a prompt, and this one asks for"
        raise LineRejected(f"{message} {times}. Send less.", code="too_many_answers", param="n")
    if times * texts > MOST_REQUESTS:
        message = f"{name}: a line is fanned out to at most {MOST_REQUESTS} requests, and this one would be"
        raise LineRejected(
            f"{message} {times * texts}. Send fewer texts in a line.", code="too_many_answers", param=name
        )


def _fanned(line: LineIn, fan: Fan, separator: bytes, translate: Callable[[LineIn], Native]) -> Fanned:
    """Return the records of all requests. Raises LineRejected: what is refused of one of them, or their size."""
    records, found, size = list[bytes](), list[Native](), 0
    for n, body in enumerate(fan.bodies):
        for place, native in enumerate(_copies(line, fan, n, body, translate), n * fan.times):
            size += len(native.data)
            if place == 0:
                _check_bytes(size * fan.requests)
            _check_bytes(size)
            records.append(native.data)
            found.append(native)
    first = found[0]
    if any(each.partition != first.partition for each in found):
        message = "The prompts of this line cannot be in one job. Send each as a line of its own."
        raise LineRejected(message, code="unsupported_value", param="prompt")
    return Fanned(
        separator.join(records),
        inputs=sum(each.inputs for each in found),
        partition=first.partition,
        dropped=tuple(dict.fromkeys(name for each in found for name in each.dropped)),
        fan=fan,
        longest=max(map(len, records)),
    )


def _check_bytes(size: int) -> None:
    if size > MOST_BYTES:
        message = f"The requests of this line have more than {MOST_BYTES} bytes together. Ask for fewer answers."
        raise LineRejected(message, code="line_too_large", param="body")


def _copies(line: LineIn, fan: Fan, n: int, body: bytes, translate: Callable[[LineIn], Native]) -> Iterator[Native]:
    """Yield the records of one prompt, which differ in their ids and, where there is one, in their seeds.

    With equal seeds the answers would be equal. Without, one translation serves for all: only its id is replaced.
    """
    first = _request(line, fan, n * fan.times, body)
    native = translate(first)
    yield native
    seed, own = _seed(body) if fan.times > 1 else None, first.native_id.encode()
    for place in range(1, fan.times):
        asked = _request(line, fan, n * fan.times + place, body)
        if seed is None and own in native.data:
            yield structs.replace(native, data=native.data.replace(own, asked.native_id.encode()))
        else:
            yield translate(asked if seed is None else structs.replace(asked, body=_with_seed(body, seed, place)))


def _request(line: LineIn, fan: Fan, place: int, body: bytes) -> LineIn:
    return structs.replace(line, native_id=request_id(line.native_id, place, fan.requests), body=body)


def _seed(body: bytes) -> int | None:
    return _whole(members(body).get("seed")) if b'"seed"' in body else None


def _with_seed(body: bytes, seed: int, place: int) -> bytes:
    return object_of(members(body) | {"seed": b"%d" % (seed + (place if seed < _HALF else -place))})


def _whole(text: bytes | None) -> int | None:
    """Return a whole number of at most 20 digits."""
    with suppress(ValueError):
        return int(text) if text and len(text) <= 20 and not text.startswith((b'"', b"+")) else None
    return None


def _texts(given: bytes | None) -> list[bytes]:
    """Return the texts of a list of nothing else, as they are written; none of another value."""
    found = entries(given) if given and given.startswith(b"[") else []
    return found if all(each.startswith(b'"') for each in found) else []
