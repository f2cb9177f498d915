"""Paths and queries that there are not: each request, and the whole error that answers it."""

from __future__ import annotations

from tests.api.bad_input.rig import Case


def where(name: str, status: int, method: str, path: str, message: str, param: str | None = None) -> Case:
    return Case(name, status, message, param, method=method, path=path)


NO_ROUTE = "This gateway has no such route."
NOBODY = "This gateway serves files and batches only: it has no upstream for other requests."
LIMIT, ROWS = "`limit` has to be a whole number from 1 to 10000.", "'limit' must be an integer from 1 to 100."
PATHS = [
    where("PUT /files", 405, "PUT", "/files", "Method Not Allowed; there is GET,HEAD,POST."),
    where("GET of a cancel", 405, "GET", "/batches/x/cancel", "Method Not Allowed; there is POST."),
    where("a path below a batch", 404, "GET", "/batches/x/y/z", NO_ROUTE),
    where("an escaped newline below a batch", 404, "GET", "/batches/x/y/%0Az", NO_ROUTE),
    where("an escaped newline in a file id", 404, "GET", "/files/a%0Ab", "No such File object.", "id"),
    where("an id of 4,000 characters", 404, "GET", "/files/" + "a" * 4000, "No such File object.", "id"),
    where("an id that climbs", 404, "GET", "/files/..%2F..%2Fetc%2Fpasswd", "No such File object.", "id"),
    where("a batch id with a quote", 404, "GET", "/batches/x'--", "No batch found with this id."),
    where("a limit of 0", 400, "GET", "/files?limit=0", LIMIT, "limit"),
    where("a limit that is none", 400, "GET", "/files?limit=%D9%A3", LIMIT, "limit"),
    where("a limit of 101 batches", 400, "GET", "/batches?limit=101", ROWS, "limit"),
    where("an unknown order", 400, "GET", "/files?order=up", "`order` has to be `asc` or `desc`.", "order"),
    where(
        "an unknown cursor", 400, "GET", "/files?after=x", "`after` is not the id of a file of this workspace.", "after"
    ),
    where("an unknown cursor of batches", 400, "GET", "/batches?after=x", "'after' is not the id of a batch.", "after"),
    where("an unknown include", 400, "GET", "/batches?include=x", "'include' knows only 'jobs'.", "include"),
]
