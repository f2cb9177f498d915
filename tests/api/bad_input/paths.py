"""Paths and queries that there are not: each request, and the whole error that answers it."""

from __future__ import annotations

from tests.api.bad_input.rig import Case


def where(
    name: str, status: int, method: str, path: str, message: str, param: str | None = None, code: str | None = None
) -> Case:
    return Case(name, status, message, param, code, method=method, path=path)


NO_ROUTE = "This gateway has no such route."
NOBODY = "This gateway has no such route, and no upstream for other requests."
TYPE = "Invalid type for 'limit': expected an integer, but got a string instead."
LOW = "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."
HIGH = "Invalid 'limit': integer above maximum value. Expected a value <= {}, but got {} instead."
BELOW, ABOVE, VALUE = "integer_below_min_value", "integer_above_max_value", "invalid_value"
ORDER = "Invalid value: 'up'. Supported values are: 'desc' and 'asc'."
INCLUDE = "Invalid value: 'x'. Supported values are: 'jobs'."
PATHS = [
    where("PUT /files", 405, "PUT", "/files", "Method Not Allowed; there is GET,HEAD,POST."),
    where("GET of a cancel", 405, "GET", "/batches/x/cancel", "Method Not Allowed; there is POST."),
    where("a path below a batch", 404, "GET", "/batches/x/y/z", NO_ROUTE),
    where("an escaped newline below a batch", 404, "GET", "/batches/x/y/%0Az", NO_ROUTE),
    where("an escaped newline in a file id", 404, "GET", "/files/a%0Ab", "No such File object.", "id"),
    where("an id of 4,000 characters", 404, "GET", "/files/" + "a" * 4000, "No such File object.", "id"),
    where("an id that climbs", 404, "GET", "/files/..%2F..%2Fetc%2Fpasswd", "No such File object.", "id"),
    where("a batch id with a quote", 404, "GET", "/batches/x'--", "No batch found with this id."),
    where("a limit of 0", 400, "GET", "/files?limit=0", LOW, "limit", BELOW),
    where("a limit that is none", 400, "GET", "/files?limit=%D9%A3", TYPE, "limit", "invalid_type"),
    where("a limit of 10,001 files", 400, "GET", "/files?limit=10001", HIGH.format(10_000, 10_001), "limit", ABOVE),
    where("a limit of 101 batches", 400, "GET", "/batches?limit=101", HIGH.format(100, 101), "limit", ABOVE),
    where("an unknown order", 400, "GET", "/files?order=up", ORDER, "order", VALUE),
    where(
        "an unknown cursor", 400, "GET", "/files?after=x", "'after' is not the id of a file of this workspace.", "after"
    ),
    where("an unknown cursor of batches", 400, "GET", "/batches?after=x", "'after' is not the id of a batch.", "after"),
    where("an unknown include", 400, "GET", "/batches?include=x", INCLUDE, "include", VALUE),
]
