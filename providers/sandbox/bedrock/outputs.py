"""What a job leaves in the bucket, and the words for where it stands. Source: reference page of Bedrock, 4 and 6."""

from pathlib import Path

from proxy_plugin.providers.sandbox.bedrock.stores import Store
from proxy_plugin.providers.sandbox.kit.jobs import Job
from proxy_plugin.providers.sandbox.kit.lines import Form, dumps

ENDS = {"completed": "Completed", "failed": "Failed", "cancelled": "Stopped", "cancelling": "Stopping"}


def words_of(job: Job, now: float) -> str:
    """Bedrock's word for where a job stands."""
    if job.state == "expired":
        return "PartiallyCompleted" if job.done else "Expired"
    if job.state == "validating":
        return "Submitted" if now < job.created + job.options.validate_seconds / 2 else "Validating"
    if job.state == "in_progress":
        return "InProgress" if job.progress(now) else "Scheduled"
    return ENDS[job.state]


def write_outputs(job: Job, form: Form, store: Store) -> None:
    """Write the results of a job as files of the bucket: records in one, OpenAI's rows in two."""
    open_batch = "endpoint" in job.order
    uri = job.order["input_file_id"] if open_batch else job.order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
    folder, _, name = uri.rpartition("/")
    place = f"{folder}/" if open_batch else job.order["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    to = store.path(job.account, f"{place.rstrip('/')}/{job.id}/{name}")
    if to is None:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    rows = list(job.results(form))
    if open_batch:
        _write(to.with_name(f"{name}.out"), [text for well, text in rows if well])
        _write(to.with_name(f"{name}.err"), [text for well, text in rows if not well])
        return
    _write(to.with_name(f"{name}.out"), [text for _, text in rows])
    ran = job.rows[: job.done or 0]
    well = sum(200 <= row.status < 300 for row in ran)
    counts = {"processedRecordCount": len(ran), "successRecordCount": well, "errorRecordCount": len(ran) - well}
    whole = {"totalRecordCount": len(job.rows), **counts, "inputTokenCount": 0, "outputTokenCount": 0}
    whole |= getattr(job.options, "manifest", {})
    _write(to.with_name("manifest.json.out"), [dumps(whole)])


def _write(path: Path, rows: list[bytes]) -> None:
    if rows:
        beside = path.with_name(f".{path.name}")
        beside.write_bytes(b"".join(row + b"\n" for row in rows))
        beside.replace(path)
