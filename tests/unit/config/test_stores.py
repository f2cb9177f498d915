"""Settings of the database and the object store: what is taken, what is refused, what is said."""

from __future__ import annotations

import math
from typing import Any

import pytest

from proxy_plugin.config import Config, check_facts, parse, render_check
from proxy_plugin.config.stores import checks
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.masking import secrets_in

PASSWORD = "pw-Hidden-0815"
DATABASE = f"postgresql://gateway:{PASSWORD}@db.example:5432/batches"
BOTH = {"database_url": DATABASE, "blob_url": "s3://bucket/prefix/"}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: object())


def read(**ours: Any) -> Config:
    return parse({"proxy_plugin": ours}, {"SECRET": "sk-of-the-store"})


def problems(**storage: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(storage=storage)
    assert PASSWORD not in str(caught.value)
    return [line.removeprefix("proxy_plugin.storage.") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/d",
        "postgres://h:5432/d",
        "postgresql://h1:5432,h2:5433/d?target_session_attrs=read-write",
        "postgresql:///d?host=/run/postgresql",
        "postgresql://u:p%40%2F%25@/d?host=/run&password=a@b",
        "postgresql://u:p:p@[::1]:5432,h2,h3:5434/d",
        "postgresql://%2Frun%2Fpostgresql/d",
    ],
)
def test_a_database_is_named_by_any_url_of_postgresql(url: str) -> None:
    found = read(storage={"database_url": url}).storage
    assert found.shared
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["mysql://u@h/d", "postgresql://h", "postgresql://h/", "h/d", f"http://u:{PASSWORD}@h/d"]
)
def test_another_database_is_refused(url: str) -> None:
    (line,) = problems(database_url=url)
    assert line.startswith("database_url: must be postgresql://HOST/DATABASE, with user and password before the host; ")


@pytest.mark.parametrize("separator", ["/", "@", "?", "#", "%", " ", "/0?", "/0#", "[", "]"])
@pytest.mark.parametrize("before", ["pw", "12"])
def test_a_password_with_a_separator_is_refused_and_told_how_to_be_written(before: str, separator: str) -> None:
    (line,) = problems(database_url=f"postgresql://u:{before}{separator}{PASSWORD}@h:5432/d")
    assert line.startswith("database_url: ")
    assert "%40 for @" in line


def test_a_port_is_a_number() -> None:
    assert problems(database_url=f"postgresql://u@h:{PASSWORD}/d")


@pytest.mark.parametrize("url", ["s3://b", "s3://b/a/b", "gs://b/p", "az://container/p", "file:///srv/objects"])
def test_a_store_is_a_bucket_with_or_without_a_prefix_or_a_folder(url: str) -> None:
    assert read(storage={"database_url": DATABASE, "blob_url": f"{url}/"}).storage.blob_url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://b.s3.amazonaws.com", "must be s3://BUCKET/PREFIX"),
        ("s3://", "must be s3://BUCKET/PREFIX"),
        ("file://host/folder", "must be s3://BUCKET/PREFIX"),
        (f"s3://key:{PASSWORD}@bucket", "holds a bucket and a prefix alone"),
        (f"s3://{PASSWORD}@bucket", "holds a bucket and a prefix alone"),
        ("s3://bucket?region=x", "holds a bucket and a prefix alone"),
    ],
)
def test_another_store_is_refused(url: str, said: str) -> None:
    (line,) = problems(database_url=DATABASE, blob_url=url)
    assert line.startswith(f"blob_url: {said}")


def test_a_store_needs_a_database_and_options_need_a_store() -> None:
    assert problems(blob_url="s3://b") == [
        "blob_url: needs a database_url beside it; without one, files are kept in data_dir"
    ]
    assert problems(blob_options={"region": "x"}) == ["blob_options: means nothing without a blob_url"]


@pytest.mark.parametrize(
    ("kind", "where"),
    [("gs", "the default key of the bucket"), ("az", "the key of the account or of the container")],
)
@pytest.mark.parametrize("name", ["server_side_encryption", "sse_kms_key_id", "aws_sse_bucket_key_enabled"])
def test_encryption_that_another_store_would_not_do_is_refused(kind: str, where: str, name: str) -> None:
    (line,) = problems(database_url=DATABASE, blob_url=f"{kind}://b", blob_options={name: "x"})
    assert line.startswith(f"blob_options.{name}: is of S3 alone; ")
    assert where in line


def test_a_folder_has_no_options() -> None:
    options = {"server_side_encryption": "AES256"}
    assert problems(database_url=DATABASE, blob_url="file:///o", blob_options=options) == [
        "blob_options: a folder has none"
    ]
    assert read(storage={**BOTH, "blob_options": options}).storage.store_options() == options


def test_packages_that_are_not_installed_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    read(storage={"data_dir": "var"})
    assert problems(**BOTH) == [
        "database_url: needs the package psycopg, which is not installed: pip install 'proxy-plugin[replicas]'",
        "blob_url: needs the package obstore, which is not installed: pip install 'proxy-plugin[replicas]'",
    ]


def test_options_are_texts_and_the_secret_ones_are_hidden() -> None:
    options = {
        "region": "eu-central-1",
        "allow_http": True,
        "timeout": 30,
        "access_key_id": "AKIA-NOT-SECRET",
        "secret_access_key": "os.environ/SECRET",
    }
    config = read(storage={**BOTH, "blob_options": options})
    assert config.storage.store_options() == {
        **options,
        "allow_http": "true",
        "timeout": "30",
        "secret_access_key": "sk-of-the-store",
    }
    assert "sk-of-the-store" not in repr(config)
    assert {*secrets_in(config.storage)} == {"sk-of-the-store", DATABASE}


def test_check_says_which_form_it_is_and_what_is_missing_and_shows_no_password() -> None:
    alone, shared = read(storage={"data_dir": "var"}), read(storage={"database_url": DATABASE})
    assert "storage   " not in render_check(alone)
    assert check_facts(alone)["storage"] == "one gateway: SQLite and files in var"
    assert PASSWORD not in (shown := render_check(shared))
    assert "storage   replicas: PostgreSQL at db.example:5432/batches, files in var of one gateway" in shown
    assert [line.split(": ")[0] for line in check_facts(shared)["warnings"]] == [
        "proxy_plugin.storage.blob_url",
        "proxy_plugin.secrets.seal_key",
    ]


def test_check_live_says_whether_both_can_be_used() -> None:
    config, live = read(storage=BOTH), {checks.DATABASE: "", checks.STORE: "no object can be written (403)"}
    said = "; database usable; object store unusable (no object can be written (403))"
    assert any(line.endswith(said) for line in render_check(config, live).splitlines())
    assert check_facts(config, live)["storage"].endswith(said)
    assert check_facts(config, live)["ok"] is False
    assert check_facts(config)["ok"] is True
    live = {checks.DATABASE: "", checks.CLOCK: "the clock of this machine is 1.5 s behind"}
    assert check_facts(config, live)["storage"].endswith("; database usable; the clock of this machine is 1.5 s behind")
    assert check_facts(config, live)["ok"] is False


def test_a_workspace_has_no_part_of_a_store() -> None:
    assert read(storage=BOTH, limits={"max_workspace_share": 0.5}).workspace_share == math.inf
    assert read(storage={"database_url": DATABASE}, limits={"max_workspace_share": 0.5}).workspace_share == 0.5


def test_nothing_is_missing_where_all_is_there() -> None:
    config = read(storage=BOTH, secrets={"seal_key": "k" * 40})
    assert config.warnings == ()
    assert check_facts(config)["storage"].endswith("files in s3://bucket/prefix")
    (warning,) = read(storage=BOTH, secrets={"seal_key": "k" * 40}, cache={"dir": "/c"}).warnings
    assert warning.startswith("proxy_plugin.cache.dir: ")
