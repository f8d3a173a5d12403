"""`codecbench table`, `compare` and `export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, put
from support.factories import make_group, make_key, make_record, make_samples

from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.results.store import Store


def test_tables_of_records(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", "--budget", "1", "--format", "md")
    assert (ended.status, ended.err) == (0, "")
    assert "alpha" in ended.out


def test_options_for_papers_choose_columns_rows_and_order(cli: Cli, tmp_path: Path) -> None:
    for codec, size in (("alpha", 100), ("beta", 50), ("gamma", 75)):
        put(tmp_path / "out", codec=codec, payload_bytes=size)
    words = (
        "table",
        "--out",
        "out",
        "--budget",
        "1",
        "--columns",
        "payload_bytes,change",
        "--rows",
        "alpha",
        "--rows",
        "beta",
    )
    ended = cli(*words, "--no-intervals", "--best", "bold", "--sort", "-payload_bytes", "--format", "csv")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "workload,split,row,status,payload_bytes,change,best,pareto",
        "toy,input,alpha,ok,100.0,-0.5,,False",
        "toy,input,beta,ok,50.0,-0.5,payload_bytes,True",
    ]
    latex = cli(*words, "--format", "latex", "--width", "column").out
    assert r"\begin{table}" in latex
    assert "gamma" not in latex


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "--columns payload_byte",
            "no column 'payload_byte'; did you mean 'payload_bytes'?; there are: payload_bytes, ",
        ),
        ("--rows alpa", "no row 'alpa'; did you mean 'alpha'?; there are: alpha, local"),
        (
            "--sort bytes",
            "no column to sort by 'bytes'; did you mean 'payload_bytes'?; there are: row, payload_bytes, ",
        ),
        ("--format latex --width 9cm", "no width '9cm'; it is page (320 pt), column (220 pt), or points from 100 on"),
    ],
)
def test_a_wrong_option_for_papers_is_one_line(cli: Cli, tmp_path: Path, words: str, error: str) -> None:
    put(tmp_path / "out", codec="alpha")
    assert cli("table", "--out", "out", "--budget", "1", *words.split()).error.startswith(f"codecbench: {error}")


def test_a_table_of_latencies(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", "--budget", "1", "--kind", "latency", "--link", "lte")
    assert (ended.status, ended.err) == (0, "")
    assert "end-to-end latency in ms" in ended.out
    assert "Network: lte, modelled" in ended.out


def test_a_table_of_the_time_that_fits_take(cli: Cli, tmp_path: Path) -> None:
    record = make_record("stem", "alpha", fit_s=44.78, workload="cifar10-resnet20")
    Store(tmp_path / "out").write(make_key("stem", "alpha", workload="cifar10-resnet20"), record)
    ended = cli("table", "--out", "out", "--kind", "training")
    assert ended.status == 0
    assert "alpha" in ended.out
    assert "of 4,478 s, the training of the model itself: every epoch counted" in " ".join(ended.out.split())


EVERYTHING = [
    *(["table", "--kind", kind] for kind in ("budget", "latency", "points", "bd-rate", "training")),
    ["plan"], ["plan", "--json"], ["figure", "rate-accuracy"], ["report", "--no-figures"], ["export", "all.csv"],
]  # fmt: skip


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_a_strangers_records_need_neither_codec_nor_workload(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    made_by = make_group(training_s=600.0, training_note="on a train.")
    put_curves(tmp_path / "out", workload="strange", made_by=made_by, description="Odd.", fit_s=6.0)
    ended = cli(*words, "--out", "out")
    assert ended.status == 0, ended.err
    if words[-1] == "training":
        assert "of 600 s, the training of the model itself: on a train." in " ".join(ended.out.split())
    if words[0] == "report":
        assert "<p>Odd.</p>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("words", [["table"], ["plan"], ["figure"], ["report"]], ids=" ".join)
def test_an_older_record_of_an_unknown_workload_needs_a_budget(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    put(tmp_path / "out", workload="strange")
    assert cli(*words, "--out", "out").error.startswith(
        "codecbench: no budget is known for workload 'strange'; give one with --budget"
    )


@pytest.mark.parametrize("words", [["table"], ["table", "--kind", "points"], ["plan"], ["plan", "--json"], ["figure"]])
def test_records_of_another_model_are_left_out_and_it_is_said(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    put_curves(tmp_path / "out", made_by=make_group())
    put(tmp_path / "out", codec="gamma", made_by=make_group(), provenance={"weights_hash": "e" * 64})
    ended = cli(*words, "--out", "out")
    said = " ".join((ended.err if words == ["figure"] else ended.out).split())
    assert "Left out: 1 record of another model (weights eeeeeeee, not 11111111)." in said
    assert "gamma" not in said


def put_curves(out: Path, **fields: Any) -> None:
    """Records of two codecs at five points each; beta takes twice the bytes of alpha."""
    for codec, factor in (("alpha", 1), ("beta", 2)):
        for quality, change in ((10, -20.0), (20, -10.0), (40, -5.0), (80, -2.0), (160, -0.5)):
            size = factor * quality * 10
            put(out, codec=codec, point={"q": quality}, payload_bytes=size, change=change, **fields)


def test_bd_rates_against_a_row(cli: Cli, tmp_path: Path) -> None:
    put_curves(tmp_path / "out")
    ended = cli("table", "--out", "out", "--kind", "bd-rate", "--anchor", "alpha")
    assert (ended.status, ended.err) == (0, "")
    assert "+100" in ended.out
    assert cli("table", "--out", "out", "--kind", "bd-rate", "--anchor", "gamma").error.startswith("codecbench: no ")


def test_bd_rates_without_an_anchor_take_the_row_of_most_curves(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="aaa")
    ended = cli("table", "--out", "out", "--kind", "bd-rate")
    assert (ended.status, ended.out) == (2, "")
    assert ended.error == (
        "codecbench: no row has the four operating points that a BD-rate takes; 'codecbench run --preset full' "
        "measures more of each codec than the quick preset"
    )
    put_curves(tmp_path / "out")
    ended = cli("table", "--out", "out", "--kind", "bd-rate")
    assert (ended.status, ended.err) == (0, "")
    assert "in % of alpha (BD-rate)" in ended.out


def test_bytes_at_equal_accuracy(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for quality, wrong in ((1, 40), (2, 5)):
        key = make_key(codec="alpha", point={"q": quality})
        made = make_record(codec="alpha", point={"q": quality}, payload_bytes=100 * quality, change=-wrong)
        right = [number >= wrong for number in range(100)]
        store = Store(out)
        store.write(key, made.model_copy(update={"samples": store.write_samples(key, make_samples(right), {})}))
    ended = cli("table", "--out", "out", "--kind", "equal-accuracy", "--budget", "20", "--anchor", "alpha")
    assert (ended.status, ended.err) == (0, "")
    assert "bytes at a loss of 20 points of top-1" in ended.out
    assert "1.00 [1.00, 1.00]" in ended.out
    ended = cli("table", "--out", "out", "--kind", "equal-accuracy", "--budget", "20", "--link", "lte")
    assert ended.error == ("codecbench: --link is for --kind budget and --kind latency, not for --kind equal-accuracy")
    ended = cli("table", "--out", "out", "--kind", "bd-rate", "--anchor", "alpha", "--anchor", "beta")
    assert ended.error == "codecbench: --kind bd-rate takes one --anchor; give one, or --kind equal-accuracy"


def test_an_anchor_is_for_bd_rates_only(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", "--anchor", "alpha")
    assert (ended.status, ended.out) == (2, "")
    assert (
        ended.error
        == "codecbench: --anchor alpha is for --kind bd-rate and --kind equal-accuracy, not for --kind budget"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--latency"], "--kind latency"),
        (["--points"], "--kind points"),
        (["--training"], "--kind training"),
        (["--bd-rate", "alpha"], "--kind bd-rate --anchor alpha"),
        (["--bd-rate", "alpha (own)"], "--kind bd-rate --anchor 'alpha (own)'"),
    ],
)
def test_options_from_before_kind_still_work_and_name_the_new_ones(
    cli: Cli, tmp_path: Path, old: list[str], new: str
) -> None:
    put_curves(tmp_path / "out", workload=DEFAULT_WORKLOAD, fit_s=2.0)
    put(tmp_path / "out", codec="alpha", row="alpha (own)", workload=DEFAULT_WORKLOAD)
    wanted = cli("table", "--out", "out", *shlex.split(new))
    ended = cli("table", "--out", "out", *old)
    assert (wanted.status, wanted.err) == (0, "")
    assert (ended.status, ended.out) == (0, wanted.out)
    assert ended.error == f"{shlex.join(old)} is now {new}; the next version removes the old spelling"
    assert old[0] not in cli("table", "--help").out.split()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["--latency", "--points"],
            "codecbench: --latency, --points, --training and --bd-rate are tables of their own; ask for one",
        ),
        (
            ["--training", "--bd-rate", "alpha"],
            "codecbench: --latency, --points, --training and --bd-rate are tables of their own; ask for one",
        ),
        (
            ["--kind", "points", "--latency"],
            "codecbench: --latency is the old spelling of --kind latency; give --kind and --anchor alone",
        ),
        (
            ["--bd-rate", "alpha", "--anchor", "beta"],
            "codecbench: --bd-rate is the old spelling of --kind bd-rate; give --kind and --anchor alone",
        ),
    ],
)
def test_two_tables_at_once_are_refused(cli: Cli, tmp_path: Path, words: list[str], error: str) -> None:
    put(tmp_path / "out", codec="alpha")
    ended = cli("table", "--out", "out", *words)
    assert (ended.status, ended.out, ended.error) == (2, "", error)


def test_a_table_of_points_for_some_codecs_and_splits(cli: Cli, tmp_path: Path) -> None:
    for split, codec in (("input", "raw"), ("input", "zlib"), ("stem", "zlib")):
        record = make_record(split, codec)
        Store(tmp_path).write(make_key(split, codec), record)
    ended = cli("table", "--out", tmp_path, "--kind", "points", "--codec", "zlib", "--split", "stem", "--format", "csv")
    assert ended.status == 0
    assert [line.split(",")[6:8] for line in ended.out.splitlines()[1:]] == [["stem", "zlib"]]
    ended = cli("table", "--out", tmp_path, "--codec", "zilb")
    assert ended.error == "codecbench: no codec in these records: 'zilb'; did you mean 'zlib'?"


def test_an_unreadable_record_is_named(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.json")
    path.write_text("{}")
    ended = cli("table", "--out", "out")
    assert ended.status == 2
    assert ended.error.startswith(f"codecbench: out/{path.relative_to(tmp_path / 'out')} has no integer 'schema'")


def test_export(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "out")
    ended = cli("export", "all.csv", "--out", "out")
    assert (ended.status, ended.out, ended.err) == (0, "", "1 record written to all.csv\n")
    assert (tmp_path / "all.csv").exists()


def test_a_folder_without_records_is_an_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "out")
    error = "codecbench: there are no records in empty; `codecbench run --out empty` makes some"
    for words in (
        ["export", "all.csv", "--out", "empty"], ["compare", "out", "empty"], ["compare", "empty", "out"],
        ["table", "--out", "empty"], ["report", "--out", "empty"],
    ):  # fmt: skip
        ended = cli(*words)
        assert (ended.status, ended.out, ended.error) == (2, "", error)
    assert not (tmp_path / "all.csv").exists()


@pytest.mark.parametrize("kind", ["points", "bd-rate", "training"])
@pytest.mark.parametrize("words", [["--budget", "1"], ["--link", "lte"], ["--device", "epyc-core"], ["--paper"]])
def test_an_option_that_a_kind_does_not_use_is_refused(cli: Cli, tmp_path: Path, kind: str, words: list[str]) -> None:
    put(tmp_path / "out", codec="alpha", workload=DEFAULT_WORKLOAD, fit_s=2.0)
    ended = cli("table", "--out", "out", "--kind", kind, *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error == f"codecbench: {words[0]} is for --kind budget and --kind latency, not for --kind {kind}"
