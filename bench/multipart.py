"""Compare multipart parsers: speed and memory of one 200 MB part, and what they make of bad bodies.

    python bench/multipart.py

Parsers that are not installed are left out (`pip install multipart streaming-form-data`). Each measurement runs in a
process of its own. "growth" is the peak resident size minus the size before the first byte. "lines" is JSONL, "crlf"
the same with CRLF line ends, "decoys" a body of unfinished boundaries, what somebody who wants to burn CPU would send.
Every parser is asked as `proxy_plugin.web.multipart` would: python-multipart itself does not complain of a missing
closing boundary, but its `on_end` tells.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import itertools
import multiprocessing
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this file's own name would hide the library `multipart`

MEGABYTE = 1_000_000
SIZE = 200 * MEGABYTE
CHUNK = 64 * 1024
BOUNDARY = "----bench-7f3a9c51d2e84b60"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
Sink = Callable[[str, str, Any], None]  # ("part", name, filename) | ("data", "", bytes) | ("end", "", None)


class Bad(Exception):
    """The parser refused the body."""


def _aiohttp(chunks: Iterable[bytes], sink: Sink) -> None:
    import aiohttp  # noqa: PLC0415
    from aiohttp import MultipartReader, StreamReader, hdrs  # noqa: PLC0415
    from aiohttp.base_protocol import BaseProtocol  # noqa: PLC0415
    from aiohttp.http_exceptions import LineTooLong  # noqa: PLC0415

    class Wire(asyncio.Transport):
        def pause_reading(self) -> None: ...
        def resume_reading(self) -> None: ...

    async def run() -> None:
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.connection_made(Wire())
        content = StreamReader(protocol, CHUNK, loop=loop)

        async def feed() -> None:
            for chunk in chunks:
                content.feed_data(chunk)
                while content._size > CHUNK:  # noqa: ASYNC110, SLF001 - a paused transport
                    await asyncio.sleep(0)
            content.feed_eof()

        feeding = asyncio.create_task(feed())
        reader = MultipartReader({hdrs.CONTENT_TYPE: TYPE}, content)
        while (part := await reader.next()) is not None:
            assert not isinstance(part, MultipartReader)
            sink("part", part.name or "", part.filename)
            while data := await part.read_chunk(CHUNK):
                sink("data", "", data)
            sink("end", "", None)
        await feeding

    try:
        asyncio.run(asyncio.wait_for(run(), 120))
    except (ValueError, TimeoutError, AssertionError, aiohttp.ClientPayloadError, LineTooLong) as error:
        raise Bad(str(error)) from error


def _python_multipart(chunks: Iterable[bytes], sink: Sink) -> None:
    library = importlib.import_module("python_multipart")
    ended = False
    name, value, headers = bytearray(), bytearray(), dict[bytes, bytes]()

    def header_end() -> None:
        headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def headers_finished() -> None:
        _, options = library.multipart.parse_options_header(headers.get(b"content-disposition"))
        filename = options.get(b"filename")
        sink(
            "part",
            options.get(b"name", b"").decode(),
            None if filename is None else filename.decode("utf-8", "replace"),
        )
        headers.clear()

    def end() -> None:
        nonlocal ended
        ended = True

    callbacks = {
        "on_header_field": lambda data, start, stop: name.extend(data[start:stop]),
        "on_header_value": lambda data, start, stop: value.extend(data[start:stop]),
        "on_header_end": header_end,
        "on_headers_finished": headers_finished,
        "on_part_data": lambda data, start, stop: sink("data", "", data[start:stop]),
        "on_part_end": lambda: sink("end", "", None),
        "on_end": end,
    }
    parser = library.MultipartParser(BOUNDARY.encode(), callbacks)
    try:
        for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except library.exceptions.FormParserError as error:
        raise Bad(str(error)) from error
    if not ended:  # the library itself says nothing
        raise Bad("the closing boundary is missing")


def _push(chunks: Iterable[bytes], sink: Sink, *, strict: bool) -> None:
    path = importlib.metadata.distribution("multipart").locate_file("multipart.py")
    spec = importlib.util.spec_from_file_location("defnull_multipart", str(path))
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    try:
        with library.PushMultipartParser(BOUNDARY, strict=strict) as parser:
            for chunk in chunks:
                for event in parser.parse(chunk):
                    if event is None:
                        sink("end", "", None)
                    elif isinstance(event, bytes | bytearray):
                        sink("data", "", event)
                    else:
                        sink("part", event.name, event.filename)
    except library.MultipartError as error:
        raise Bad(str(error)) from error


def _push_lenient(chunks: Iterable[bytes], sink: Sink) -> None:
    _push(chunks, sink, strict=False)


def _push_strict(chunks: Iterable[bytes], sink: Sink) -> None:
    _push(chunks, sink, strict=True)


def _streaming_form_data(chunks: Iterable[bytes], sink: Sink) -> None:
    library = importlib.import_module("streaming_form_data")
    targets = importlib.import_module("streaming_form_data.targets")

    class Target(targets.BaseTarget):  # type: ignore[name-defined, misc]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_start(self) -> None:
            sink("part", self.name, self.multipart_filename)

        def on_data_received(self, chunk: bytes) -> None:
            sink("data", "", chunk)

        def on_finish(self) -> None:
            sink("end", "", None)

    parser = library.StreamingFormDataParser({"Content-Type": TYPE})
    for name in ("purpose", "file", "other"):
        parser.register(name, Target(name))
    try:
        for chunk in chunks:
            parser.data_received(chunk)
    except Exception as error:  # it has many kinds of its own
        raise Bad(str(error)) from error


PARSERS: dict[str, Callable[[Iterable[bytes], Sink], None]] = {
    "aiohttp MultipartReader": _aiohttp,
    "python-multipart": _python_multipart,
    "multipart Push": _push_lenient,
    "multipart Push, strict": _push_strict,
    "streaming-form-data": _streaming_form_data,
}


def _part(name: str, data: bytes, filename: str | None = None, *, newline: bytes = b"\r\n") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return newline.join((b"--" + BOUNDARY.encode(), disposition.encode(), b"", data, b""))


PURPOSE = _part("purpose", b"batch")
FILE = _part("file", b'{"a":1}\r\n{"b":2}\n', "in.jsonl")
CLOSE = b"--" + BOUNDARY.encode() + b"--\r\n"
LONG_HEADER = b"--" + BOUNDARY.encode() + b"\r\nX-Long: " + b"a" * (8 * MEGABYTE)
BODIES: dict[str, bytes] = {
    "purpose first": PURPOSE + FILE + CLOSE,
    "file first": FILE + PURPOSE + CLOSE,
    "boundary split anywhere": b"",  # PURPOSE + FILE + CLOSE, cut in two at every byte and into single bytes
    "CRLF in filename, encoded": PURPOSE + _part("file", b"x", "a%0D%0Ab.jsonl") + CLOSE,
    "CRLF in filename, raw": PURPOSE + _part("file", b"x", "a\r\nb.jsonl") + CLOSE,
    "no closing boundary": PURPOSE + FILE,
    "cut inside the file": PURPOSE + FILE[:-6],
    "cut inside the boundary": PURPOSE + FILE + CLOSE[:-4],
    "preamble": b"This is a multi-part message.\r\n" + PURPOSE + FILE + CLOSE,
    "epilogue": PURPOSE + FILE + CLOSE + b"later\r\n",
    "another boundary": (PURPOSE + FILE + CLOSE).replace(BOUNDARY.encode(), b"other"),
    "8 MB header": PURPOSE + LONG_HEADER,
    "bare LF": _part("purpose", b"batch", newline=b"\n") + CLOSE,
    "no name": PURPOSE + FILE.replace(b'name="file"; ', b"") + CLOSE,
}


def _cut(body: bytes, size: int = CHUNK) -> Iterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


def _collect(parser: Callable[[Iterable[bytes], Sink], None], chunks: Iterable[bytes]) -> list[tuple[str, Any, bytes]]:
    parts: list[tuple[str, Any, bytearray]] = []
    ended = 0

    def sink(kind: str, name: str, value: Any) -> None:
        nonlocal ended
        if kind == "part":
            parts.append((name, value, bytearray()))
        elif kind == "data":
            parts[-1][2].extend(value)
        else:
            ended += 1

    parser(chunks, sink)
    if ended != len(parts):
        return [(name, filename, bytes(data) + b"<unfinished>") for name, filename, data in parts]
    return [(name, filename, bytes(data)) for name, filename, data in parts]


def _verdict(parser: Callable[[Iterable[bytes], Sink], None], case: str) -> str:
    body = BODIES[case]
    try:
        if case == "boundary split anywhere":
            return _split_verdict(parser, BODIES["purpose first"])
        parts = _collect(parser, _cut(body))
    except Bad:
        return "refused"
    except Exception as error:  # noqa: BLE001 - a crash is a result too
        return f"crashed: {type(error).__name__}"
    files = {name: (filename, data) for name, filename, data in parts}
    if case.startswith("CRLF"):
        return repr(files.get("file", ("-", b""))[0])
    if files == {"purpose": (None, b"batch"), "file": ("in.jsonl", b'{"a":1}\r\n{"b":2}\n')}:
        return "accepted"
    return (
        "silent: " + ", ".join(f"{name or '(no name)'}[{len(data)}]" for name, _, data in parts) if parts else "nothing"
    )


def _split_verdict(parser: Callable[[Iterable[bytes], Sink], None], body: bytes) -> str:
    whole = _collect(parser, [body])
    for at in range(1, len(body)):
        if _collect(parser, [body[:at], body[at:]]) != whole:
            return f"wrong at {at}"
    return "same" if _collect(parser, _cut(body, 1)) == whole else "wrong at 1 byte"


def _template(kind: str) -> bytes:
    line = b'{"custom_id":"r-1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'
    piece = {
        "lines": line + b"\n",
        "crlf": line + b"\r\n",
        "decoys": b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--" + BOUNDARY.encode() + b"x",
    }[kind]
    return (piece * (CHUNK // len(piece) + 1))[:CHUNK]


def _speed(name: str, kind: str) -> tuple[float, float, str]:
    """Return MB/s, growth in MB, and what went wrong."""
    template = _template(kind)
    count = SIZE // CHUNK if kind != "decoys" else SIZE // CHUNK // 20
    seen = 0

    def sink(what: str, _name: str, value: Any) -> None:
        nonlocal seen
        if what == "data":
            seen += len(value)

    head = PURPOSE + _part("file", b"", "in.jsonl")[:-2]
    _collect(PARSERS[name], _cut(PURPOSE + FILE + CLOSE))  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    try:
        PARSERS[name](itertools.chain([head], itertools.repeat(template, count), [b"\r\n" + CLOSE]), sink)
    except Bad as error:
        return 0.0, 0.0, f"refused ({str(error)[:40]})"
    took = time.perf_counter() - start
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    wrong = "" if seen == count * CHUNK + 5 else f"{seen - count * CHUNK - 5:+} bytes"
    return count * CHUNK / took / MEGABYTE, growth, wrong


def _one(task: tuple[str, str, str]) -> Any:
    what, name, case = task
    warnings.simplefilter("ignore")
    importlib.import_module("logging").disable(100)
    return _speed(name, case) if what == "speed" else _verdict(PARSERS[name], case)


def _installed(name: str) -> bool:
    module = {"streaming-form-data": "streaming_form_data"}.get(name)
    if name.startswith("multipart"):
        return any(re.fullmatch("multipart", each.name) for each in importlib.metadata.distributions())
    return module is None or importlib.util.find_spec(module) is not None


def main() -> None:
    names = [name for name in PARSERS if _installed(name)]
    context = multiprocessing.get_context("spawn")

    def run(*task: str) -> Any:
        with context.Pool(1) as pool:
            return pool.apply(_one, (task,))

    print(f"{SIZE // MEGABYTE} MB in {CHUNK // 1024} KiB chunks; best of 3, MB/s (growth in MB)")
    print(f"{'':28}" + "".join(f"{kind:>22}" for kind in ("lines", "crlf", "decoys")))
    for name in names:
        print(f"{name:28}", end="", flush=True)
        for kind in ("lines", "crlf", "decoys"):
            best = max((run("speed", name, kind) for _ in range(3)), key=lambda found: float(found[0]))
            print(f"{best[2] or f'{best[0]:.0f} ({best[1]:.1f})':>22}", end="", flush=True)
        print()
    print(f"\n{'':28}" + "".join(f"{name:>32}" for name in names))
    for case in BODIES:
        print(f"{case:28}" + "".join(f"{run('verdict', name, case):>32}" for name in names), flush=True)


if __name__ == "__main__":
    main()
