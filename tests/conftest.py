"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from proxy_plugin.providers import catalog
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support import cloud_stores, nursery, postgres
from tests.support import object_store as s3
from tests.support.cloud_stores import AnyStore, AzureStore, GoogleStore
from tests.support.lane_times import LaneTimes
from tests.support.object_store import Store
from tests.support.postgres import Databases
from tests.support.shared_form import SharedForm
from tests.support.sharing import Sharing
from tests.support.stack import Gateway
from tests.support.stand_ins import StandIns
from tests.toy import installed

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each gateway would compile all modules anew: 0.2 s of CPU

# The same examples on every machine, however busy it is.
_PATIENT = hypothesis.settings(  # what is drawn depends on the modules that are loaded, and so does how large it is
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
)
hypothesis.settings.register_profile("patient", _PATIENT)
hypothesis.settings.register_profile("seeded", _PATIENT, derandomize=True, max_examples=40)
STORES = ("moto", "cloud_storage", "azurite")
LANES = (*catalog.BUILT_IN, "toy")
MEMORY, ROOM = Path("/dev/shm"), 6 * 2**30  # bytes; a run keeps about 1 GB at a time
_STAND_INS = pytest.StashKey[StandIns]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--campaign` runs the long forms of seeded tests in full, `--shared` the form of a gateway with replicas."""
    parser.addoption("--campaign", action="store_true", help="run whole campaigns, not the seeded slice")
    parser.addoption("--shared", action="store_true", help="gateways have PostgreSQL and an object store")
    parser.addoption("--store", choices=STORES, default=STORES[0], help="what replicas keep bytes in, in whole tests")
    parser.addoption(
        "--before", type=Path, help="a checkout of an earlier version, whose killed gateways this one takes over"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Property tests are repeatable, but for campaigns."""
    hypothesis.settings.load_profile("patient" if config.getoption("--campaign") else "seeded")
    config.stash[_STAND_INS] = StandIns()
    if not config.getoption("--campaign") and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    Gateway.quick = not config.getoption("--campaign")
    Gateway.shared = SharedForm() if config.getoption("--shared") else None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(LaneTimes(LANES))


def _has_room(folder: Path) -> bool:
    """Tell whether the tests' folders can be there: in memory a batch of 50 lines takes 0.29 s, on a disk 0.51 s.

    What is durable, and in which order, is no matter of timing: `test_order_trace` reads the system calls.
    """
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC


def pytest_unconfigure(config: pytest.Config) -> None:
    """No stand-in, and nobody whom gateways are forked from, outlives the tests."""
    config.stash[_STAND_INS].stop()
    if Gateway.shared:
        Gateway.shared.close()
    nursery.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test meets stand-ins that know nothing of the tests before it."""
    if "sandbox" in getattr(item, "fixturenames", ()):
        item.config.stash[_STAND_INS].reset(**_sandbox_options(item))


def _sandbox_options(node: pytest.Item | pytest.Collector) -> dict[str, Any]:
    module = node.getparent(pytest.Module)
    marker = module.get_closest_marker("sandbox") if module else None
    return dict(marker.kwargs) if marker else {}


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """The stand-ins, quick unless `pytestmark = pytest.mark.sandbox(keys=..., options=...)` says otherwise.

    Modules with the same options share a process, which forgets everything before each test.
    """
    return request.config.stash[_STAND_INS].get(**_sandbox_options(request.node))


@pytest.fixture(scope="session")
def stand_ins(pytestconfig: pytest.Config) -> StandIns:
    """All stand-ins of this run, for a test that needs more than one."""
    return pytestconfig.stash[_STAND_INS]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    """Share the tests by what they need."""
    if config.getvalue("dist") != "loadgroup":
        return None
    made = Sharing(config, log)
    made.lane_of = LaneTimes(LANES).lane_of
    return made


@pytest.fixture(scope="module")
def toys() -> Iterator[None]:
    """The toy lanes are registered in this process while a module that asks for them runs."""
    with installed():
        yield


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The PostgreSQL of this session. A test that stops it starts it again."""
    with postgres.serving() as running:
        yield running


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of an empty database."""
    url = databases.fresh()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 that knows preconditions."""
    with s3.moto(tmp_path_factory.mktemp("moto") / "moto.log") as store:
        yield store


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 that checks signatures, and keeps its objects as files."""
    with s3.rclone(tmp_path_factory.mktemp("rclone") / "buckets") as store:
        yield store


@pytest.fixture(scope="session")
def cloud_storage() -> Iterator[GoogleStore]:
    """A stand-in for Google Cloud Storage, which checks tokens."""
    with cloud_stores.cloud_storage() as store:
        yield store


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStore]:
    """Microsoft's emulator of Azure Blob, which checks signatures; where there is none its tests are skipped."""
    with cloud_stores.azurite(tmp_path_factory.mktemp("azurite") / "blobs") as store:
        yield store


@pytest.fixture(scope="session")
def object_store(request: pytest.FixtureRequest) -> AnyStore:
    """The store of `--store`."""
    found: AnyStore = request.getfixturevalue(request.config.getoption("--store"))
    return found


@pytest.fixture(scope="session")
def campaign(pytestconfig: pytest.Config) -> bool:
    """Whether whole campaigns are asked for."""
    return bool(pytestconfig.getoption("--campaign"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 48 MB that fills up like any other."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
