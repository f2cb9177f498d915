"""The wheel beside other people's code: one top-level package, whatever else is called `providers`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPLICATION = """
import asyncio, json, sys
import aiohttp
from aiohttp import web
import providers.weather
from proxy_plugin import setup

async def main():
    app = web.Application()
    app.router.add_get("/weather", lambda request: web.json_response(providers.weather.today()))
    ours = {"storage": {"data_dir": sys.argv[1]}, "api_keys": [{"name": "a", "key": "key-of-the-application"}],
            "virtual_keys": {"lane": {"provider": "openai", "api_key": "sk-x"}}}
    setup(app, {"proxy_plugin": ours})
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    root, key = f"http://127.0.0.1:{site.port}", {"x-portkey-api-key": "key-of-the-application"}
    async with aiohttp.ClientSession() as session:
        weather = await (await session.get(root + "/weather")).json()
        files = await (await session.get(root + "/v1/files", headers=key)).json()
    await runner.cleanup()
    from proxy_plugin.providers import base
    print(json.dumps({"weather": weather, "files": files["data"], "ours": base.__file__, "theirs": providers.__file__}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy: what an earlier build left in `build/` would get into it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("proxy_plugin", "providers", "deploy", "docs", "examples"):
        shutil.copytree(ROOT / name, folder / "tree" / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "config.yaml"):
        shutil.copy(ROOT / name, folder / "tree")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", folder, folder / "tree"], check=True)
    [made] = folder.glob("*.whl")
    return made


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    imported = [name for name in names if ".dist-info/" not in name and ".data/data/share/" not in name]
    assert {name.split("/")[0] for name in imported} == {"proxy_plugin"}
    data = {"py.typed", "costs/prices.json", "storage/sql/0001.sql", "providers/lanes/openai/lane.py"}
    data |= {"config/config.schema.json"}
    assert {f"proxy_plugin/{name}" for name in data} <= set(names)


def test_an_application_with_a_folder_called_providers_uses_the_middleware(wheel: Path, tmp_path: Path) -> None:
    installed, home = tmp_path / "site-packages", tmp_path / "application"
    zipfile.ZipFile(wheel).extractall(installed)
    (home / "providers").mkdir(parents=True)
    (home / "providers" / "__init__.py").touch()
    (home / "providers" / "weather.py").write_text("def today():\n    return 'rain'\n")
    (home / "application.py").write_text(APPLICATION)
    environ = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "application.py", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["weather"], said["files"]) == ("rain", [])
    assert Path(said["ours"]).is_relative_to(installed)
    assert Path(said["theirs"]).is_relative_to(home)
