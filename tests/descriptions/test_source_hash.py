"""The hash of a codec's source: which files count, and what of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.codec import Codec
from codecbench.descriptions import source_hash
from codecbench.descriptions.source_hash import read_source, source_sha256
from codecbench.registry import codecs, load_file, manager, workloads

CLASS = '''
from codecbench import Codec


class Mine(Codec):
    """A codec."""

    name = "mine"

    def encode(self, x):
        return b""

    def decode(self, payload):
        return None
'''

Import = Callable[[str], type[Codec]]


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """The class `Mine` of a module that lies in `tmp_path`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def found(name: str) -> type[Codec]:
        importlib.invalidate_caches()
        kind: type[Codec] = importlib.import_module(name).Mine
        return kind

    yield found
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, **texts: str) -> None:
    """Modules by dotted name, with "__" for a dot; `package__init` is the package's `__init__.py`."""
    for name, text in texts.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path = path.with_name("__init__.py") if path.stem == "init" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


PACKAGE = {"pack__init": "", "pack__sub__init": "", "pack__sub__net": "X = 1\n", "pack__far": "Y = 1\n"}


@pytest.mark.parametrize(
    ("statement", "edited"),
    [
        ("import pack.sub.net", "pack/sub/net.py"),
        ("from pack.sub import net", "pack/sub/net.py"),
        ("from pack.sub.net import X", "pack/sub/net.py"),
        ("from .sub import net", "pack/sub/net.py"),
        ("from .sub.net import X", "pack/sub/net.py"),
        ("from . import far", "pack/far.py"),
        ("from .far import Y as Z", "pack/far.py"),
        ("from .far import *", "pack/far.py"),
        ("import pack.sub.net", "pack/sub/__init__.py"),
        ("import pack.sub.net", "pack/__init__.py"),
        ("def later():\n    from .sub.net import X\n", "pack/sub/net.py"),
        ("import beside", "beside.py"),
        ("from folder.beside import X", "folder/beside.py"),
    ],
)
def test_a_strangers_own_modules_count(tmp_path: Path, imported: Import, statement: str, edited: str) -> None:
    write(tmp_path, **PACKAGE, pack__mine=statement + "\n" + CLASS, beside="X = 1\n", folder__beside="X = 1\n")
    kind = imported("pack.mine")
    before = source_sha256(kind)
    assert source_sha256(kind) == before
    file = tmp_path / edited
    file.write_text(file.read_text() + "CHANGED = 1\n")
    assert source_sha256(kind) != before


def test_modules_that_helpers_import_count_at_any_depth(tmp_path: Path, imported: Import) -> None:
    write(
        tmp_path, pack__init="", pack__mine="from .one import X\n" + CLASS, pack__sub__init="", pack__three="",
        pack__one="from pack.sub import two\nX = 1\n", pack__sub__two="from .. import three\n",
    )  # fmt: skip
    kind = imported("pack.mine")
    before = source_sha256(kind)
    (tmp_path / "pack/three.py").write_text("Y = 1\n")
    assert source_sha256(kind) != before


def test_a_module_that_is_not_imported_does_not_count(tmp_path: Path, imported: Import) -> None:
    write(tmp_path, **PACKAGE, pack__mine="from .sub.net import X\n" + CLASS)
    kind = imported("pack.mine")
    before = source_sha256(kind)
    (tmp_path / "pack/far.py").write_text("Y = 2\n")
    assert source_sha256(kind) == before


def test_all_modules_count_of_a_package_that_is_the_codec(tmp_path: Path, imported: Import) -> None:
    write(tmp_path, pack__init=CLASS, pack__sub__net="X = 1\n")
    kind = imported("pack")
    before = source_sha256(kind)
    (tmp_path / "pack/sub/net.py").write_text("X = 2\n")
    assert source_sha256(kind) != before


def test_a_file_that_is_not_python_counts_as_it_stands(tmp_path: Path, imported: Import) -> None:
    write(tmp_path, pack__init=CLASS, pack__template="print {{ name }} # one\n")
    kind = imported("pack")
    before = source_sha256(kind)
    (tmp_path / "pack/template.py").write_text("print {{ name }} # two\n")
    assert source_sha256(kind) != before


def test_modules_beside_a_plugin_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, mine="from elsewhere import coder\n" + CLASS, elsewhere__init="", elsewhere__coder="KEEP = 1\n")
    kind = load_file(tmp_path / "mine.py").Mine
    before = source_sha256(kind)
    (tmp_path / "elsewhere/coder.py").write_text("KEEP = 2\n")
    assert source_sha256(kind) != before


def test_modules_count_of_a_package_that_is_installed_and_holds_the_plugin_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of a library do not count, unless the plugin file is a part of it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(source_hash, "_library_folders", lambda: frozenset([tmp_path.resolve()]))
    text = "from owned.deep import coder\nimport library\n" + CLASS
    write(
        tmp_path, owned__init="", owned__deep__init="", owned__deep__mine=text, owned__deep__coder="KEEP = 1\n",
        library__init="X = 1\n",
    )  # fmt: skip
    kind = load_file(tmp_path / "owned/deep/mine.py").Mine
    before = source_sha256(kind)
    (tmp_path / "library/__init__.py").write_text("X = 2\n")
    assert source_sha256(kind) == before
    (tmp_path / "owned/deep/coder.py").write_text("KEEP = 2\n")
    assert source_sha256(kind) != before


@pytest.mark.parametrize(
    "statement",
    ['importlib.import_module("pack.coder")', 'import_module(".coder", __package__)', '__import__("pack.coder")'],
)
def test_an_import_by_a_call_with_a_name_counts(tmp_path: Path, imported: Import, statement: str) -> None:
    write(tmp_path, pack__init="", pack__coder="KEEP = 1\n", pack__mine=f"def later():\n    {statement}\n{CLASS}")
    kind = imported("pack.mine")
    before = source_sha256(kind)
    (tmp_path / "pack/coder.py").write_text("KEEP = 2\n")
    assert source_sha256(kind) != before


def test_a_workload_has_a_source_too_without_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = workloads(manager())["cifar10-resnet20"]
    package = Path(sys.modules[kind.__module__].__file__ or "").parent
    core = Path(sys.modules["codecbench"].__file__ or "").parent

    def with_edited(edited: Path) -> str:
        with monkeypatch.context() as patch:
            edit(patch, edited)
            return source_sha256(kind)

    before = source_sha256(kind)
    assert with_edited(core / "workload.py") == before
    assert with_edited(package / "__init__.py") != before
    assert with_edited(package.parent / "cifar10" / "data.py") != before


def test_an_edit_of_the_class_itself_counts_and_libraries_are_never_imported(tmp_path: Path) -> None:
    write(tmp_path, mine="def later():\n    import torch.utils.nowhere, xml.dom.minidom\n" + CLASS)
    kind = load_file(tmp_path / "mine.py").Mine
    sys.modules.pop("xml.dom.minidom", None)
    before = source_sha256(kind)
    assert "xml.dom.minidom" not in sys.modules
    file = tmp_path / "mine.py"
    file.write_text(file.read_text().replace('b""', 'b"1"'))
    assert source_sha256(kind) != before


def test_comments_docstrings_and_blank_lines_do_not_count(tmp_path: Path, imported: Import) -> None:
    write(tmp_path, pack__init="", pack__mine="from .net import X\n" + CLASS, pack__net='"""Old."""\nX = 1  # one\n')
    kind = imported("pack.mine")
    before = source_sha256(kind)
    (tmp_path / "pack/net.py").write_text('"""New,\n\nand longer."""\n\n\n# why\nX = 1\n')
    file = tmp_path / "pack/mine.py"
    file.write_text(file.read_text().replace('"""A codec."""', '"""Another text."""  # and a comment'))
    assert source_sha256(kind) == before


def edit(patch: pytest.MonkeyPatch, edited: Path) -> None:
    """Let a module be read with one statement more."""
    content = source_hash._content
    patch.setattr(source_hash, "_content", lambda path: content(path) + b"\nX = 1\n" * (path == edited))


def test_helpers_of_the_core_count_and_the_contract_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits a file of the core in memory only: the checkout itself must not change."""
    installed = codecs(manager())
    core = Path(sys.modules["codecbench"].__file__ or "").parent
    hashes = {name: source_sha256(installed[name]) for name in ("raw", "klt")}

    def with_edited(edited: Path) -> dict[str, str]:
        with monkeypatch.context() as patch:
            edit(patch, edited)
            return {name: source_sha256(installed[name]) for name in hashes}

    assert with_edited(core / "codec.py") == hashes
    changed = with_edited(core / "toolbox/transforms/tiling.py")  # which klt imports by way of the transform
    assert changed["raw"] == hashes["raw"]
    assert changed["klt"] != hashes["klt"]


def test_everything_counts_that_a_star_imports_from_the_toolbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, starred="from codecbench.toolbox.coding import *\n" + CLASS)
    kind = load_file(tmp_path / "starred.py").Mine
    before = source_sha256(kind)
    edited = Path(sys.modules["codecbench"].__file__ or "").parent / "toolbox/coding/huffman.py"
    edit(monkeypatch, edited)
    assert source_sha256(kind) != before


def code(text: str) -> str:
    return read_source(text.encode()).code.decode()


def test_code_is_cut_by_position() -> None:
    text = '''"""Module."""

import os  # why


def täglich(a="# no comment"):  # ä, then a comment
    """Docstring, über
    two lines."""
    b = """

    kept # as it is

    """
    return f"""{a}

    {b}"""


class Empty:
    "Only this."
'''
    assert (
        code(text)
        == '''import os
def täglich(a="# no comment"):
    b = """

    kept # as it is

    """
    return f"""{a}

    {b}"""
class Empty:'''
    )


def test_blank_lines_within_a_string_are_code() -> None:
    assert code('x = """a\n\nb"""\n') != code('x = """a\nb"""\n')


def test_a_string_that_is_no_docstring_counts() -> None:
    assert code('x = 1\n"""one"""\n') != code('x = 1\n"""two"""\n')
    assert code('f"""one"""\n') != code('f"""two"""\n')


def test_line_ends_and_encodings_do_not_count() -> None:
    assert read_source(b"x = 1\r\ny = 2\r\n").code == read_source(b"x = 1\ny = 2\n").code
    latin = "# coding: latin-1\nx = 'ä'\n"
    assert read_source(latin.encode("latin-1")).code == read_source("x = 'ä'\n".encode()).code


@given(st.lists(st.sampled_from(["# note", "", "   ", "    # indented"]), max_size=5), st.integers(0, 3))
def test_a_comment_anywhere_between_statements_changes_nothing(lines: list[str], at: int) -> None:
    statements = ["import os", "X = [1,", "     2]", "Y = 3"]
    assert code("\n".join([*statements[:at], *lines, *statements[at:]]) + "\n") == "\n".join(statements)
