"""The pages say what is: links lead somewhere, commands exist, and what a page lists is what there is."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel
from support.paths import ROOT

from codecbench import TensorSpec, manager
from codecbench.cli.main import app
from codecbench.experiment.config import load
from codecbench.registry import codecs
from codecbench.results.record import PayloadBytes, Record, Seconds
from codecbench.testing import run_checks

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "datasets").glob("*/README.md"))
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}


@pytest.mark.parametrize("page", BY_NAME)
def test_links_lead_somewhere(page: str) -> None:
    text = BY_NAME[page].read_text()
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [target for target in targets if target and not (BY_NAME[page].parent / target).exists()]
    assert missing == []


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `codecbench ...` that a page shows as a line of code, comments left out."""
    shown = re.findall(r"^(?: {4}|\$ )(?:.*&& )?(?:\.venv/bin/)?(codecbench .*)$", text, re.MULTILINE)
    yield from (shlex.split(line, comments=True)[1:] for line in shown)


def parse(words: list[str]) -> None:
    """Let the command line take these words apart without running anything. Raises where it cannot."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("codecbench", rest)


@pytest.mark.parametrize("page", BY_NAME)
def test_commands_exist_with_their_options(page: str) -> None:
    for words in commands(BY_NAME[page].read_text()):
        parse(words)


def test_a_wrong_command_would_be_noticed() -> None:
    (words,) = commands("    codecbench table --budgte 2   # no such option\n")
    with pytest.raises(Exception, match="budgte"):
        parse(words)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of a record with its dotted name; the two groups of statistics count as one field."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        group = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if group is None or group in (PayloadBytes, Seconds):
            yield prefix + (field.alias or name)
        else:
            yield from fields(group, f"{prefix}{name}.")


def test_the_page_on_records_lists_every_field_once() -> None:
    text = (ROOT / "docs" / "reference" / "records.md").read_text()
    table = text.split("## The record\n")[1].split("## ")[0]
    listed = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)]
    assert sorted(listed) == sorted(fields(Record))


CORE = ROOT / "codecbench"


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Every text in a module; what an f-string fills in is a gap."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


GAP = "\0"
STANDS_FOR_ANYTHING = re.compile(
    r"\.\.\.(?=[ ,;:)`]|$)|\b(?:FILE|FOLDER|NAME|WER|[NXY])\b(?:\.json)?|\((?:the disk|Perm|No such)[^)]*\)"
)


def test_the_messages_on_the_page_on_troubles_are_those_of_the_program() -> None:
    text = (ROOT / "docs" / "guides" / "troubles.md").read_text()
    messages = [
        found for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for found in re.findall(r"`([^`]*)`", row)
    ]
    assert len(messages) > 30
    said = [
        part
        for path in CORE.rglob("*.py")
        for whole in texts_of(ast.parse(path.read_text()))
        for part in whole.split(GAP)
    ]
    for message in messages:
        for piece in STANDS_FOR_ANYTHING.split(message):
            piece = piece.strip(" ,;:()")
            assert len(piece) < 8 or any(piece in part for part in said), f"no message says {piece!r}"


def mapped() -> set[str]:
    """Every file and folder that the map names, from `codecbench/`; names after the first column are of its folder."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("## Map\n")[1].split("## ")[0]
    named = set()
    for row in re.findall(r"^\| `.*$", table, re.MULTILINE):
        first, *others = row.strip("|").split(" | ")
        places = re.findall(r"`([\w./]+)`", first)
        inside = [name for cell in others for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)]
        named |= {*places, *(places[0] + name for name in inside)}
    return named


def test_the_map_names_every_folder_of_the_core_and_nothing_else() -> None:
    packages = {f"{path.parent.relative_to(CORE)}/" for path in CORE.rglob("*/__init__.py")}
    assert packages - mapped() == set()
    assert [name for name in sorted(mapped()) if not (CORE / name).exists()] == []


def test_the_map_names_every_file_beside_the_folders() -> None:
    files = {path.name for path in CORE.glob("*.py")} - {"__init__.py"}
    assert files - mapped() == set()


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("where is the budget applied?", "analysis/budget.py"),
        ("where does a codec's state come from?", "fitting/states.py"),
        ("what stops a codec from opening a file?", "isolation/audit.py"),
        ("where are bytes counted?", "harness/accuracy.py"),
        ("what decides whether a record is current?", "descriptions/source_hash.py"),
        ("where is a model cut?", "workers/process/graph_split.py"),
        ("where is latency computed?", "analysis/latency.py"),
        ("where are the paper's numbers?", "analysis/published.py"),
        ("what may a plugin import?", "toolbox/"),
        ("where is the HTML?", "report/templates/"),
    ],
)
def test_the_map_answers(question: str, place: str) -> None:
    assert place in mapped(), question


def test_the_map_fits_on_a_screen() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert len(text.split("## Map\n")[1].split("\n\n")[1].splitlines()) <= 25


def test_the_example_of_a_configuration_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guides" / "how-to.md").read_text()
    ((name, body),) = re.findall(r"^```toml (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / name).write_text(body)
    config = load(tmp_path / name, {})
    assert config.model_fields_set == tomllib.loads(body).keys()
    assert config.out == tmp_path / "results-of-the-study"


def test_the_codecs_that_pages_end_with_are_sound(tmp_path: Path) -> None:
    paths = []
    for page in ("README.md", "docs/tutorial/first-codec.md"):
        name, body = re.findall(
            r"^```python (\S+\.py)\n(.*?)^```$", BY_NAME[page].read_text(), re.MULTILINE | re.DOTALL
        )[-1]
        paths.append(tmp_path / name)
        paths[-1].write_text(body)
    found = codecs(manager(paths, with_entry_points=False))
    assert list(found) == ["deflate", "half"]
    specs = [TensorSpec((4, 8, 8)), TensorSpec((None, 6), max_length=20)]
    outcomes = run_checks(list(found.values()), specs=specs)
    assert [outcome.line() for outcome in outcomes if outcome.status == "failed"] == []
    assert sum(outcome.status == "passed" for outcome in outcomes) > 100


def test_ci_runs_the_readmes_test_command() -> None:
    readme_lines = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    (tests,) = [line for line in readme_lines if line.endswith("pytest")]
    (main_job,) = [line for line in readme_lines if line.endswith("codecbench run")]
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()
    assert tests.rpartition(" && ")[0] == main_job.rpartition(" && ")[0], "both install the same"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
