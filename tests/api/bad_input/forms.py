"""Forms of uploads that cannot be stored: each request, and the whole error that answers it."""

from __future__ import annotations

import gzip

from tests.api.bad_input.rig import MAX_FILE, Case
from tests.support.lines import chat_lines, jsonl

EDGE = "edge"
FORM = f"multipart/form-data; boundary={EDGE}"
LINES = jsonl(chat_lines(1))


def part(name: str, data: bytes, filename: bytes | None = None) -> bytes:
    """One part of a form; the filename is put there as it is."""
    claimed = b"" if filename is None else b'; filename="' + filename + b'"'
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"'.encode()
    return head + claimed + b"\r\n\r\n" + data + b"\r\n"


END = f"--{EDGE}--\r\n".encode()
PURPOSE, FILE = part("purpose", b"batch"), part("file", LINES, b"in.jsonl")
WHOLE = PURPOSE + FILE + END
CANNOT = "The upload cannot be read: "
ILL_FORMED = f"{CANNOT}the body is not well-formed multipart/form-data with the boundary that its Content-Type names."
ENDS_EARLY = f"{CANNOT}the body ends before its closing boundary."
NO_NAME = f"{CANNOT}a part has no Content-Disposition with a name."
LONG_HEADERS = f"{CANNOT}a part has more than 8 headers of 4224 bytes; shorten its file name."
NO_FORM = "Send the file as multipart/form-data: the Content-Type is not multipart/form-data."
NO_BOUNDARY = "Send the file as multipart/form-data: the Content-Type names no usable boundary."
PURPOSES = "{} is not one of ['batch', 'assistants', 'evals', 'fine-tune', 'user_data', 'vision'] - 'purpose'"
MISSING = "missing_required_parameter"
KEPT_ELSEWHERE = (
    "A file with the purpose 'fine-tune' is kept by a provider: send 'x-portkey-provider: @slug' or "
    "'x-portkey-virtual-key: slug', or 'x-portkey-provider: NAME' with the provider's own key in Authorization. "
    "Only files with the purpose 'batch' are stored by this gateway itself."
)
TOO_LARGE = f"The file exceeds {MAX_FILE} bytes, this gateway's limit; split it into several."
ENCODINGS = "This gateway takes bodies as they are or with 'Content-Encoding: gzip', once; send it that way."


def form(
    name: str, body: bytes, message: str, param: str | None = None, code: str | None = None, **headers: str | None
) -> Case:
    status = {"request_too_large": 413, "unsupported_content_encoding": 415}.get(code or "", 400)
    sent = {"content-type": FORM} | {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, status, message, param, code, path="/files", headers=sent, body=body)


FORMS = [
    form("no file", PURPOSE + END, "Missing required parameter: 'file'.", "file", MISSING),
    form("two files", PURPOSE + FILE + FILE + END, "The form has more than one 'file'; send one at a time.", "file"),
    form(
        "an empty file",
        PURPOSE + part("file", b"", b"a") + END,
        "The file is empty; a batch needs at least one line.",
        "file",
        "empty_file",
    ),
    form("no purpose", FILE + END, "Missing required parameter: 'purpose'.", "purpose", MISSING),
    form("two purposes", PURPOSE + PURPOSE + FILE + END, "The form has 'purpose' more than once.", "purpose"),
    form("an unknown purpose", part("purpose", b"nope") + FILE + END, PURPOSES.format("'nope'"), "purpose"),
    form(
        "an unknown purpose behind the file",
        FILE + part("purpose", b"nope") + END,
        PURPOSES.format("'nope'"),
        "purpose",
    ),
    form(
        "a purpose that is a talk", part("purpose", b"Dear Ms Smith") + END, PURPOSES.format("What was sent"), "purpose"
    ),
    form("a purpose of a provider", part("purpose", b"fine-tune") + FILE + END, KEPT_ELSEWHERE, "x-portkey-provider"),
    form("another boundary", WHOLE, ILL_FORMED, content_type="multipart/form-data; boundary=other"),
    form("no boundary", WHOLE, NO_BOUNDARY, content_type="multipart/form-data"),
    form("an empty boundary", WHOLE, NO_BOUNDARY, content_type='multipart/form-data; boundary=""'),
    form("a boundary of 10 kB", WHOLE, NO_BOUNDARY, content_type=f"multipart/form-data; boundary={'e' * 8000}"),
    form("no content type", WHOLE, NO_FORM, content_type=None),
    form("another content type", LINES, NO_FORM, content_type="application/jsonl"),
    form("JSON", b"{}", NO_FORM, content_type="application/json"),
    form("nothing", b"", ENDS_EARLY),
    form("no form at all", b"hello", ILL_FORMED),
    form("not closed", PURPOSE + FILE, ENDS_EARLY),
    form("cut in a header", PURPOSE + FILE[:40], ENDS_EARLY),
    form("a part without a name", f"--{EDGE}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + END, NO_NAME),
    form("a part without headers", f"--{EDGE}\r\n\r\nx\r\n".encode() + END, NO_NAME),
    form("20 headers", f"--{EDGE}\r\n".encode() + b"X: y\r\n" * 20 + b"\r\nx\r\n" + END, LONG_HEADERS),
    form("a filename of 10 kB", PURPOSE + part("file", LINES, b"n" * 10_000) + END, LONG_HEADERS),
    form("a field of 70 kB", part("user", b"x" * 70_000) + WHOLE, "The form has more than 64 KiB beside its file."),
    form(
        "a wrong anchor",
        PURPOSE + part("expires_after[anchor]", b"x") + part("expires_after[seconds]", b"9") + FILE + END,
        "Invalid value: 'x'. Supported values are: 'created_at'.",
        "expires_after.anchor",
        "invalid_value",
    ),
    form(
        "wrong seconds",
        PURPOSE + part("expires_after.anchor", b"created_at") + part("expires_after.seconds", b"1e4") + FILE + END,
        "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
        "expires_after.seconds",
        "invalid_type",
    ),
    form(
        "an expiry that is no JSON",
        PURPOSE + part("expires_after", b"{nope") + FILE + END,
        "'expires_after' has to be one object with 'anchor' and 'seconds'.",
        "expires_after",
    ),
    form(
        "too large", PURPOSE + part("file", b"x" * (2 * MAX_FILE), b"a") + END, TOO_LARGE, "file", "request_too_large"
    ),
    form(
        "a gzip bomb",
        gzip.compress(PURPOSE + part("file", bytes(2**26), b"a") + END),
        TOO_LARGE,
        "file",
        "request_too_large",
        content_encoding="gzip",
    ),
    form(
        "gzip that is none",
        WHOLE,
        "The gzip stream of the body is damaged.",
        "Content-Encoding",
        "invalid_gzip",
        content_encoding="gzip",
    ),
    form(
        "gzip cut off",
        gzip.compress(WHOLE)[:-9],
        "The gzip stream of the body ends early.",
        "Content-Encoding",
        "invalid_gzip",
        content_encoding="gzip",
    ),
    form("zstd", WHOLE, ENCODINGS, "Content-Encoding", "unsupported_content_encoding", content_encoding="zstd"),
]
