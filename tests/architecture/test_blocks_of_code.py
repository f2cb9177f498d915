"""Every block of code of the documents can be used: configurations start a gateway, commands have these options."""

from __future__ import annotations

import ast
import base64
import configparser
import json
import re
import shlex
import sqlite3
import textwrap
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_plugin import cli
from proxy_plugin.commands import options
from proxy_plugin.config import parse
from proxy_plugin.ground.webhooks import secret_of
from proxy_plugin.providers.sandbox.tokens import service_account
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.sqlite import migrate
from tests.support import code_blocks
from tests.support.code_blocks import ROOT, CodeBlock
from tools import config_schema

PROGRAMS = {"cmp", "curl", "docker", "export", "git", "install", "journalctl", "litellm", "make", "nginx", "pip"}
PROGRAMS |= {"pg_dump", "pg_restore", "proxy-plugin", "python", "python3", "systemctl"}
DRAWINGS = {"docs/architecture.md"}  # pages that may have a block of no language
REFERENCE = re.compile(r"os\.environ/([A-Z0-9_]+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PARAMETER = re.compile(r":\w+|\?")
PLAN_LINE = re.compile(r" *[A-Z].*: [\d.,]+ rows")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def environ_of(text: str) -> dict[str, str]:
    """Return what a configuration asks of the environment: keys, the JSON of an account, the secret of a webhook."""
    return {name: value_of(name) for name in REFERENCE.findall(text)}


def value_of(name: str) -> str:
    if "WEBHOOK" in name:
        return secret_of(bytes(32))
    if name == "DATABASE_URL":
        return "postgresql://u:p@h/d"
    if name == "AZURE_ACCOUNT_KEY":
        return base64.b64encode(bytes(64)).decode()
    return service_account("x") if "CREDENTIALS" in name else f"sk-{name.lower()}"


def check_yaml(block: CodeBlock) -> None:
    document = yaml.safe_load(block.text)
    if "proxy_plugin" not in document:  # virtual keys alone
        document = {"proxy_plugin": {"virtual_keys": document}}
    assert list(config_schema.problems(document)) == []
    found = parse(document, environ_of(block.text))
    assert found.disabled == {}
    assert found.virtual_keys or "virtual_keys" not in block.text
    if found.storage.blob_url is not None:
        store = Objects(found.storage.blob_url, found.storage.store_options())
        store.open()  # it knows all options
        store.close()


def check_shell(block: CodeBlock) -> None:
    for command in code_blocks.commands(block.text):
        words = shlex.split(command.removesuffix("&"))
        program = words[0].rsplit("/", 1)[-1]
        assert program in PROGRAMS, command
        if program == "proxy-plugin":
            check_command(words[1:])
        if program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {each for each in words[1:] if "=" not in each} <= {*targets}, command


def check_command(words: list[str]) -> None:
    if words[0] == "batch":
        options.parse(words[1:])
    else:
        cli.parser(whole=True).parse_args(words)


def check_python(block: CodeBlock) -> None:
    text = textwrap.dedent(block.text)
    ast.parse(f"{{{text}}}" if re.match(r'"\w+": ', text) else text)  # a line of a table is no program


def check_lines(block: CodeBlock) -> None:
    for line in block.text.splitlines():
        assert {*json.loads(line)} >= {"custom_id", "url", "body"}


def check_unit(block: CodeBlock) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names of units and variables have capitals
    parser.read_string(block.text if block.text.startswith("[") else f"[environment]\n{block.text}")
    assert parser.sections()


def check_nginx(block: CodeBlock) -> None:
    """Each directive ends with a semicolon, each block is closed; `nginx -t` knows the rest."""
    text = re.sub(r"#.*|\"[^\"]*\"", "", block.text)
    assert text.count("{") == text.count("}") > 0
    for statement in re.split(r"[{};]", text)[:-1]:
        assert "\n" not in statement.strip(), statement


def check_sql(block: CodeBlock) -> None:
    """A statement that the present schema takes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        migrate(database)
        database.execute(f"EXPLAIN {PARAMETER.sub('NULL', block.text)}")


def check_plan(block: CodeBlock) -> None:
    assert all(PLAN_LINE.match(line) for line in block.text.splitlines())


CHECKS: Mapping[str, Callable[[CodeBlock], Any]] = {
    "ini": check_unit,
    "json": lambda block: json.loads(block.text),
    "jsonl": check_lines,
    "nginx": check_nginx,
    "python": check_python,
    "sh": check_shell,
    "sql": check_sql,
    "text": check_plan,
    "yaml": check_yaml,
}


@pytest.mark.parametrize("block", code_blocks.every(), ids=str)
def test_a_block_can_be_used(block: CodeBlock) -> None:
    if block.page in DRAWINGS and not block.language:
        return
    assert block.language in CHECKS, "say what it is, so that it can be checked"
    CHECKS[block.language](block)


SHIPPED = [*(ROOT / "deploy").rglob("config.yaml"), *(ROOT / "deploy").rglob("nginx.conf")]


@pytest.mark.parametrize("path", sorted(SHIPPED), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_to_run_it_can_be_used(path: Path) -> None:
    language = {".yaml": "yaml", ".conf": "nginx"}[path.suffix]
    CHECKS[language](CodeBlock(str(path), 1, language, path.name, path.read_text()))


def test_all_pages_are_read() -> None:
    found = code_blocks.every()
    assert len({block.page for block in found}) > 35
    assert {block.language for block in found} >= {*CHECKS}


def test_links_lead_somewhere() -> None:
    broken = []
    for page in code_blocks.pages():
        for link in LINK.findall(page.read_text()):
            path, _, anchor = link.partition("#")
            if "://" in path:
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in HEADING.findall(text)}


def test_every_page_is_in_the_index() -> None:
    index, docs = (ROOT / "docs" / "README.md").read_text(), ROOT / "docs"
    pages = {page.relative_to(docs) for page in docs.rglob("*.md")} - {(docs / "README.md").relative_to(docs)}
    listed = {page for page in pages if f"]({page})" in index}
    assert {str(page) for page in pages - listed if page.parts[0] != "providers"} == set()
