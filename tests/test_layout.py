"""How the code is laid out and named: sizes, one name for one thing, and words that need no decoding."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT

CORE = ROOT / "codecbench"
PACKAGES = (CORE, ROOT / "plugins" / "codecbench_plugins", ROOT / "datasets" / "codecbench_datasets")
TESTS = ROOT / "tests"
OTHER_TESTS = {"bench", "datasets", "docs", "plugins"}
"""Folders of tests of what is not in the core. Every other one has the name of a folder of the core."""

MAX_FILE_LINES = 400
MAX_CLASS_LINES = 250
MAX_FUNCTION_LINES = 60
MAX_FOLDER_FILES = 13

OLD_NAMES = {
    "Lesson", "TaskLesson", "DeepcodLesson", "lesson", "Answer", "answered", "ask", "asked", "Scores", "look",
    "looks_since", "distance", "far", "_apart", "given", "wanted", "Weighting", "Means", "COLOURS", "places", "least",
    "greatest", "most", "asking", "answering", "_asking", "rehearse", "Rehearsal", "say", "working", "Heard", "twin",
    "uncut", "whole",
}  # fmt: skip
"""Identifiers that had to be decoded. The standard terms stand in their place."""
OLD_PARTS = {"lesson", "least", "greatest", "most", "uncut", "whole", "twin", "rehearse", "rehearsal"}
"""The same for a part of an identifier, between underscores."""
KEPT = {
    "at_most": "a field of device profiles",
    "distance": "the rate knob of JPEG XL",
}
"""Names that files or codec arguments have, and so stay."""

PUZZLES = ("What", "Of", "How", "Whether", "Why")
MAX_PUZZLE_SHARE = 0.05


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that a module defines or uses, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.keyword(arg=str(name)):
                yield name, node.lineno
            case ast.alias(name=name, asname=None) | ast.alias(asname=str(name)):
                yield name, node.lineno


def test_files_classes_and_functions_fit_on_few_screens() -> None:
    long = []
    for path in python_files(CORE):
        lines = path.read_text().count("\n")
        if lines > MAX_FILE_LINES:
            long.append(f"{name_of(path)}: {lines} lines")
        for node in ast.walk(tree_of(path)):
            match node:
                case ast.ClassDef():
                    limit = MAX_CLASS_LINES
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    limit = MAX_FUNCTION_LINES
                case _:
                    continue
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > limit:
                long.append(f"{name_of(path)}: {node.name} has {size} lines")
    assert long == []


def test_folders_hold_about_a_dozen_files() -> None:
    counts = defaultdict(int)
    for path in python_files(CORE):
        counts[name_of(path.parent)] += path.name != "__init__.py"
    assert {folder: count for folder, count in counts.items() if count > MAX_FOLDER_FILES} == {}


def test_no_public_class_name_stands_twice_in_the_core() -> None:
    files_by_name = defaultdict(list)
    for path in python_files(CORE):
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files_by_name[node.name].append(name_of(path))
    assert {name: files for name, files in files_by_name.items() if len(files) > 1} == {}


@pytest.mark.parametrize("path", python_files(*PACKAGES), ids=name_of)
def test_no_identifier_needs_decoding(path: Path) -> None:
    found = {
        f"line {line}: {name}"
        for name, line in identifiers(tree_of(path))
        if (name in OLD_NAMES or OLD_PARTS & set(name.lower().split("_"))) and name not in KEPT
    }
    assert found == set()


def test_docstrings_say_what_is_returned_or_done() -> None:
    openings = [
        docstring.split()[0].strip("`*:,")
        for path in python_files(*PACKAGES)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if (docstring := ast.get_docstring(node))
    ]
    assert sum(opening in PUZZLES for opening in openings) < MAX_PUZZLE_SHARE * len(openings)


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Every part of the dotted names that a module imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                dotted = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases):
                dotted = [module or "", *(alias.name for alias in aliases)]
            case _:
                continue
        for name in dotted:
            yield from name.split(".")


def test_no_test_imports_another_test_module() -> None:
    files = python_files(TESTS)
    modules = {path.stem for path in files if path.stem.startswith("test_") or path.stem == "conftest"}
    found = {name_of(path): sorted(modules & set(imported_names(tree_of(path)))) for path in files}
    assert {name: imported for name, imported in found.items() if imported} == {}


def test_folders_of_tests_are_those_of_the_core() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    mirrored = sorted(folder.as_posix() for folder in folders if folder.parts[0] not in OTHER_TESTS)
    assert len(mirrored) > 10
    assert [folder for folder in mirrored if not (CORE / folder / "__init__.py").is_file()] == []


FAMILIES = (
    "torchvision", "timm", "transformers", "huggingface", "hf", "imagefolder", "imagenet", "coco", "cifar",
    "mobilenet", "resnet", "yolo", "wav2vec", "vit",
)  # fmt: skip
"""Names of model families, data sets and their libraries, in small letters, as a word in a name or a text begins."""
NAMED_FAMILIES = {
    "codecbench/analysis/published.py": {"imagenet", "resnet"},
    "codecbench/cli/options.py": {"hf", "imagefolder"},
    "codecbench/experiment/config.py": {"cifar", "resnet"},
    "codecbench/toolbox/boxes/labels.py": {"coco"},
}
"""Published tables to compare with, examples in the options' help, the default workload, and a layout of files."""


def named_families(path: Path) -> set[str]:
    """The families that a module's names and texts name; docstrings and comments do not count."""
    prose = {id(node.value) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    words = re.findall(r"[a-z0-9]+", " ".join([*texts, *(name for name, _ in identifiers(tree_of(path)))]).lower())
    return {family for family in FAMILIES for word in words if word.rstrip("0123456789") == family or word == family}


def test_only_the_adapters_name_model_families_and_data_sets() -> None:
    found = {
        name_of(path): named_families(path) for path in python_files(CORE) if CORE / "adapters" not in path.parents
    }
    assert {name: families for name, families in found.items() if families} == NAMED_FAMILIES
