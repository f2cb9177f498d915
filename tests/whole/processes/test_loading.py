"""What a process loads only when it has need of it: memory and time of the start depend on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = {"aiohttp", "msgspec", "pydantic", "sqlite3", "yaml"}
ADAPTER = """
from pydantic import SecretStr
from proxy_plugin.providers.base import Credentials


class AcmeCredentials(Credentials):
    api_key: SecretStr


class Acme:
    credentials = AcmeCredentials


ACME = Acme()
"""


def printed(program: str, *more: Path) -> list[str]:
    """Run a program in a fresh interpreter and return the words that it prints."""
    path = os.pathsep.join(map(str, (ROOT, *more)))
    run = [sys.executable, "-c", program]
    return subprocess.run(run, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True).stdout.split()


def test_worker_code_loads_no_server_and_no_database() -> None:
    lines = ROOT / "proxy_plugin" / "lines"
    paths = [path.relative_to(ROOT).with_suffix("") for path in lines.rglob("*.py") if path.name != "__init__.py"]
    rooms = ("config", "storage", "access", "gateway", "web", "engine", "api")
    heavy = ["aiohttp", "sqlite3", "yaml", *(f"proxy_plugin.{each}" for each in rooms)]
    modules = ", ".join(".".join(path.parts) for path in paths)
    assert printed(f"import {modules}, sys; print(*(name for name in {heavy} if name in sys.modules))") == []


def test_the_package_alone_is_light() -> None:
    loaded = printed("import proxy_plugin, sys; print(*{name.partition('.')[0] for name in sys.modules})")
    assert HEAVY & set(loaded) == set()


def test_a_gateway_that_seals_nothing_does_not_load_the_cipher() -> None:
    program = (
        "import sys; from pydantic import SecretStr\n"
        "import proxy_plugin.app; from proxy_plugin.access.vault import Vault\n"
        "Vault(); print('cryptography' in sys.modules); Vault(SecretStr('k')); print('cryptography' in sys.modules)"
    )
    assert printed(program) == ["False", "True"]


def test_a_gateway_of_its_own_loads_nothing_of_replicas() -> None:
    program = (
        "import sys; from pathlib import Path; import proxy_plugin.app\n"
        "from proxy_plugin.storage.opening import registry_of\n"
        "registry_of(Path('.')); print('psycopg' in sys.modules, 'obstore' in sys.modules)\n"
        "registry_of(Path('.'), 'postgresql://h/d'); print('psycopg' in sys.modules)"
    )
    assert printed(program) == ["False", "False", "True"]


def test_only_the_adapters_in_use_are_imported(tmp_path: Path) -> None:
    (tmp_path / "acme_adapter.py").write_text(ADAPTER)
    installed = tmp_path / "acme-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[proxy_plugin.providers]\nacme-ai = acme_adapter:ACME\n")
    program = (
        "import sys\nfrom proxy_plugin.config import parse\n"
        "parse({'proxy_plugin': {'virtual_keys': {'a': {'provider': 'acme-ai', 'api_key': 'x'}}}}, {})\n"
        "lanes = [name for name in sys.modules if name.startswith('proxy_plugin.providers.lanes')]\n"
        "print(*lanes, *sorted({'acme_adapter', 'litellm', 'aiohttp'} & set(sys.modules)))\n"
    )
    assert printed(program, tmp_path) == ["acme_adapter"]
