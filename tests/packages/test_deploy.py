"""The files to run it as a service: parsed, linted and held against the schemas of those who read them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import promql_parser
import pytest
import yaml

from tests.packages.conftest import BIN, ROOT, ran

DEPLOY = ROOT / "deploy"
KEYS = {"LITELLM_MASTER_KEY": f"sk-{'m' * 32}", "OPENAI_API_KEY": "sk-test"}
SHARED = KEYS | {"DATABASE_URL": "postgresql://u:p@h/d", "PORTKEY_API_KEY": "sk-callers", "SEAL_KEY": "0" * 64}
SHARED |= {"S3_KEY_ID": "id", "S3_SECRET": "sk-store", "POD_NAME": "pod-1"}


def test_the_containerfile_is_linted() -> None:
    ran(BIN / "hadolint", ROOT / "Containerfile")


def test_the_container_gets_what_its_file_copies() -> None:
    copied = [
        line.split()[1:-1] for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("COPY")
    ]
    wanted = {name for names in copied for name in names if not name.startswith("--from") and not name.startswith("/")}
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {f"!{name}" for name in wanted} <= set(ignored)
    assert all((ROOT / name).exists() for name in wanted)


@pytest.mark.parametrize("folder", ["compose", "kubernetes", "replicas/compose", "replicas/kubernetes"])
def test_a_configuration_that_is_shipped_can_be_served(folder: str, gateway: Path, tmp_path: Path) -> None:
    config = DEPLOY / folder / "config.yaml"
    said = ran(gateway / "proxy-plugin", "check", "--json", "--config", config, env=SHARED, cwd=tmp_path)
    assert json.loads(said)["ok"] is True
    assert json.loads(said)["storage"].startswith("replicas: " if "replicas" in folder else "one gateway: ")


COMPOSE = DEPLOY / "compose" / "compose.yaml"


def read_compose(**changes: object) -> dict[str, Any]:
    """Return our service as a strict reader of the compose specification understands it. Raises what that raises."""
    written = yaml.safe_load(COMPOSE.read_text())
    written["services"]["proxy-plugin"] |= changes
    read = compose_spec.PyCompose.from_json(json.dumps(written))
    assert set(read.service_names()) == {"proxy-plugin", "litellm"}
    return dict(read.to_dict()["services"]["proxy-plugin"])


def test_the_compose_file_keeps_to_the_specification() -> None:
    ours = read_compose()
    assert (ours["read_only"], ours["cap_drop"]) == (True, ["ALL"])
    assert [each for each in ours["volumes"] if not each.endswith(":ro")] == ["data:/var/lib/proxy-plugin"]
    named = [each.split(":")[0] for each in ours["volumes"] if each.startswith("./")]
    assert all((COMPOSE.parent / each).exists() for each in named)
    assert (COMPOSE.parent / ours["build"]["context"] / ours["build"]["dockerfile"]).exists()
    with pytest.raises(Exception, match="read_onlyy"):
        read_compose(read_onlyy=True)


REPLICAS = DEPLOY / "replicas" / "compose" / "compose.yaml"


def test_the_compose_file_of_replicas_keeps_to_the_specification() -> None:
    written = yaml.safe_load(REPLICAS.read_text())
    read = compose_spec.PyCompose.from_json(json.dumps(written)).to_dict()["services"]
    assert {*read} == {"proxy-plugin", "front", "postgres", "store", "bucket"}
    ours, front = read["proxy-plugin"], read["front"]
    assert (ours["read_only"], ours["cap_drop"]) == (True, ["ALL"])
    assert "ports" not in ours, "callers come to the front, which any number of gateways is behind"
    assert all(each.endswith(":ro") for each in ours["volumes"]), "a replica keeps nothing"
    named = [each.split(":")[0] for each in (*ours["volumes"], *front["volumes"])]
    assert all((REPLICAS.parent / each).exists() for each in named)
    assert (REPLICAS.parent / ours["build"]["context"] / ours["build"]["dockerfile"]).exists()


def test_the_unit_is_verified_by_systemd(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not there")
    text = (DEPLOY / "proxy-plugin.service").read_text()
    unit = tmp_path / "proxy-plugin.service"
    unit.write_text(text.replace("/opt/proxy-plugin/bin/proxy-plugin", "/bin/true"))
    assert unit.read_text() != text
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "proxy-plugin" in line] == []
    assert done.returncode == 0, done.stderr


def objects(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each]


def test_kustomize_builds_objects_that_kubernetes_takes(tmp_path: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not there")
    built = ran("kubectl", "kustomize", DEPLOY / "kubernetes")
    made = tmp_path / "built.yaml"
    made.write_text(built)
    ran(BIN / "kubernetes-validate", "--strict", made)
    stateful = next(each for each in objects(built) if each["kind"] == "StatefulSet")
    pod = stateful["spec"]["template"]["spec"]
    mounted = {each["name"] for each in pod["containers"][0]["volumeMounts"]}
    claimed = {each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]}
    assert mounted == {each["name"] for each in pod["volumes"]} | claimed
    assert stateful["spec"]["replicas"] == 1, "one gateway owns one volume"
    named = next(each for each in objects(built) if each["kind"] == "ConfigMap")["metadata"]["name"]
    assert next(each for each in pod["volumes"] if each["name"] == "config")["configMap"]["name"] == named


def test_kustomize_builds_replicas_that_own_nothing(tmp_path: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not there")
    built = ran("kubectl", "kustomize", DEPLOY / "replicas" / "kubernetes")
    made = tmp_path / "built.yaml"
    made.write_text(built)
    ran(BIN / "kubernetes-validate", "--strict", made)
    kinds = {each["kind"]: each for each in objects(built)}
    assert {*kinds} == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    assert {name for each in pod["volumes"] for name in each} == {"name", "configMap", "emptyDir"}
    assert {each["name"] for each in pod["containers"][0]["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


OBJECTS = [*(DEPLOY / "kubernetes").glob("s*.yaml"), *(DEPLOY / "replicas" / "kubernetes").glob("[ds]*.yaml")]


@pytest.mark.parametrize("path", sorted(OBJECTS), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_each_object_is_one_of_kubernetes(path: Path, tmp_path: Path) -> None:
    made = tmp_path / "object.yaml"
    [found] = objects(path.read_text())
    if found["kind"] in ("StatefulSet", "Deployment"):  # Kustomize adds the labels
        found["spec"]["selector"] = {"matchLabels": {"a": "b"}}
        found["spec"]["template"]["metadata"]["labels"] = {"a": "b"}
    made.write_text(yaml.safe_dump(found))
    ran(BIN / "kubernetes-validate", "--strict", made)


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [each.replace("$__rate_interval", "5m") for each in asked]


@pytest.mark.parametrize("expression", expressions())
def test_every_query_is_promql(expression: str) -> None:
    promql_parser.parse(expression)


def test_it_runs_on_a_read_only_root_with_one_volume(gateway: Path, tmp_path: Path) -> None:
    """What the image does, without an image: a mount namespace whose root is read-only but for a volume and /tmp."""
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no mount namespace")
    volume = tmp_path / "volume"
    (volume / "tmp").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text((DEPLOY / "kubernetes" / "config.yaml").read_text())
    script = f"""
        set -eu
        mount --rbind / /mnt
        mount -o remount,ro,bind /mnt
        mount --bind {volume} /mnt{volume}
        exec chroot /mnt sh -c 'cd {volume} && exec {gateway}/python - {gateway}/proxy-plugin {tmp_path}/config.yaml'
    """
    program = """
import subprocess, sys, urllib.request, time
open_root = subprocess.run(["touch", "/usr/x"], capture_output=True).returncode
command = [sys.argv[1], "serve", "--config", sys.argv[2], "--port", "0"]
serve = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
for line in serve.stderr:
    if '"listening"' in line and '"metrics"' in line: break
urllib.request.urlopen("http://127.0.0.1:9787/healthz").close()
serve.terminate()
print(open_root, serve.wait())
"""
    done = subprocess.run(
        [*own, "sh", "-c", script],
        input=program,
        capture_output=True,
        text=True,
        env=KEYS | {"PATH": os.environ["PATH"], "TMPDIR": str(volume / "tmp")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "0"], done.stdout + done.stderr
    assert (volume / "var" / "registry.sqlite3").exists()
