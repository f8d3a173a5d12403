"""`codecbench report`: it writes the page, or says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.reports import check, some_records

from codecbench import UsageError
from codecbench.errors import DataError
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store


def write(folder: Path, records: Sequence[Record]) -> None:
    store = Store(folder)
    for record in records:
        store.write(CellKey(**record.key.model_dump()), record)


def run(arguments: Sequence[str]) -> None:
    import typer

    from codecbench.cli.report import report as command

    app = typer.Typer()
    app.command()(command)
    app(args=list(arguments), standalone_mode=False)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results", some_records())
    file = tmp_path / "page.html"
    options = ["--budget", "1", "--link", "ethernet", "--no-figures", "--no-paper"]
    run(["--out", str(tmp_path / "results"), "--file", str(file), *options])
    page = check(file.read_text())
    assert "codecbench report --out results --link ethernet --budget 1.0 --no-figures --no-paper" in page.said("code")
    assert "26 records reported in " in capsys.readouterr().err
    assert str(tmp_path) not in file.read_text()


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, some_records())
    with pytest.raises(UsageError, match="no workload in these records: 'toi'; did you mean 'toy'"):
        run(["--out", str(tmp_path), "--workload", "toi"])
    with pytest.raises(DataError, match=r"cannot write .*; choose another --file"):
        run(["--out", str(tmp_path), "--budget", "1", "--no-figures", "--file", str(tmp_path / "none" / "page.html")])


def test_a_row_and_a_file_that_are_none_are_named_before_the_work(tmp_path: Path) -> None:
    write(tmp_path, some_records())
    with pytest.raises(UsageError, match=r"no row in these records: 'nope'; there are: "):
        run(["--out", str(tmp_path), "--bd-rate", "nope", "--file", str(tmp_path / "page.html")])
    with pytest.raises(DataError, match=r"cannot write .*; choose another --file"):
        run(["--out", str(tmp_path), "--file", str(tmp_path)])
    assert not (tmp_path / "page.html").exists()
