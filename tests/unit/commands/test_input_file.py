"""What is uploaded: a file, a packed one, or what comes on stdin, always with its size known before."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_plugin.commands.input_file import STDIN, FileForm, InputFile
from proxy_plugin.commands.problems import Misuse

LINES = b'{"url": "/v1/chat/completions", "custom_id": "1"}\n' * 40_000


def sent(path: Path) -> tuple[bytes, str, int]:
    """Return what is read of a file, its name, and the size that was told before."""
    with InputFile(path) as file:
        assert file.endpoint() == "/v1/chat/completions"
        content = b"".join(file.blocks())
        assert len(b"".join(FileForm(file).blocks())) == FileForm(file).length
        return content, file.name, file.size


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])])
def test_a_packed_file_is_sent_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / ("a.jsonl" if pack is bytes else "a.jsonl.gz")
    path.write_bytes(pack(LINES))
    assert sent(path) == (LINES, "a.jsonl", len(LINES))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("piped", [True, False])
def test_stdin_is_a_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], piped: bool
) -> None:
    small = pack(LINES[:50])  # a pipe holds 64 KiB
    if piped:
        reader, writer = os.pipe()
        os.write(writer, small)
        os.close(writer)
        stream = os.fdopen(reader, "rb")
    else:
        (tmp_path / "in").write_bytes(small)
        stream = (tmp_path / "in").open("rb")
    with io.TextIOWrapper(stream) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert sent(STDIN) == (LINES[:50], "stdin.jsonl", 50)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(LINES)[:-9], "no whole gzip file"),
        (gzip.compress(LINES)[:20] + b"x" * 400, "no whole gzip file"),
        (b"\x1f\x8bnothing like it", "no whole gzip file"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"", "is empty"),
    ],
)
def test_what_cannot_be_unpacked_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(Misuse, match=says):
        InputFile(tmp_path / "a.gz")
