"""Fits: on which samples, from which neighbour's state, and going on where one was interrupted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.paths import LEARNING, MISBEHAVING, TINY
from support.runs import KeptProcesses, RecordingReporter

from codecbench.cli.main import main
from codecbench.errors import DataError, UsageError
from codecbench.experiment.cells import FitSummary
from codecbench.experiment.config import RunConfig
from codecbench.fitting import states
from codecbench.fitting.fits import Fits
from codecbench.fitting.fitter import Fitter
from codecbench.fitting.states import FittedState, PartialFit
from codecbench.harness.run import Run
from codecbench.results.store import Store
from codecbench.workers.client import DeviceClient


@pytest.fixture(autouse=True)
def own_cache(shared: KeptProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run takes the kept processes, and every test has a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextmanager
def job(*codecs: str, **options: Any) -> Iterator[tuple[Run, RecordingReporter]]:
    config = RunConfig.model_validate({
        "workload": "tiny", "samples": 8, "split": ["stem"], "codec": list(codecs), "preset": "full",
        "plugin": [TINY, LEARNING], **options,
    })  # fmt: skip
    reporter = RecordingReporter()
    with Run(config, reporter) as run:
        yield run, reporter


def fit(
    *codecs: str, into: Path | None = None, further: bool = False, **options: Any
) -> tuple[FitSummary, RecordingReporter]:
    with job(*codecs, **options) as (run, reporter):
        return run.fit(into, further=further), reporter


def kept(folder: Path | None = None) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """What the states of a folder say of themselves, and what their fits were given; by point."""
    folder = folder or states.cache_folder()
    found = [states.read(path.parent, path.stem) for path in folder.glob("*.zip")]
    whole = [(state.about, json.loads(state.edge)) for state in found if state is not None]
    return sorted(whole, key=lambda pair: json.dumps(pair[0]["point"]))


# --- neighbours -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", [None, "shipped"])
def test_neighbours_are_fitted_first_and_handed_over(tmp_path: Path, into: str | None) -> None:
    folder = tmp_path / into if into else None
    summary, reporter = fit("chained", into=folder)
    assert (summary.fitted, summary.failures) == (3, [])
    assert [text.partition(":")[0] for _, text in reporter.finished] == [f"stem chained width={n}" for n in (4, 2, 1)]
    found = kept(folder / "chained" if folder else None)
    assert [about["starts_from"] for about, _ in found] == [{"width": 2}, {"width": 4}, None]
    starts = [told["start"] for _, told in found]
    assert starts[2] is None
    for point, start in zip(({"width": 2}, {"width": 4}), starts, strict=False):
        assert json.loads(start[0]) == point
        assert json.loads(start[1])["count"] == 40


def test_the_reporter_is_told_of_fits_to_come_and_of_the_running_one(tmp_path: Path) -> None:
    chained = [f"stem chained width={n}" for n in (4, 2, 1)]
    with job("chained", "raw") as (run, reporter):
        run.fit()
        assert reporter.expected_fits == chained
        assert [(label, share) for label, share, _ in reporter.fits] == [(label, 0.0) for label in chained]
        assert reporter.fits_ended == 3
        run.fit()
        assert reporter.expected_fits == chained, "the states are there"
        run.fits.expect(run.plan())
        assert reporter.expected_fits == chained
    with job("chained", "raw", cache_dir=tmp_path / "other") as (run, reporter):
        run.fits.expect(run.plan())
        assert reporter.expected_fits == chained
        run.fit(tmp_path / "shipped")
        assert reporter.expected_fits == [*chained, *chained]


def test_cells_that_share_a_state_are_one_fit_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fits, "fit_key", lambda _self, cell, _fit_set: cell.key.codec)
    with job("chained", "greedy") as (run, reporter):
        run.fits.expect(run.plan())
    assert reporter.expected_fits == ["stem chained width=4", "stem greedy"]


def test_a_failed_fit_has_ended() -> None:
    _, reporter = fit("fails-to-learn", plugin=[TINY, MISBEHAVING])
    assert (len(reporter.fits), reporter.fits_ended) == (1, 1)


def test_a_fit_that_refuses_the_model_is_no_failure() -> None:
    summary, reporter = fit("choosy")
    assert (summary.fitted, summary.failures) == (1, [])
    assert sorted(status for status, _ in reporter.finished) == ["ok", "skipped"]


def test_states_are_kept_without_the_tail_and_used_with_it(tmp_path: Path) -> None:
    with job("leaning", out=tmp_path / "out") as (run, _):
        (cell,) = run.plan()
        for _ in range(2):  # fitted, then found
            told = json.loads(run.fits.state_of(cell).edge)
            assert told["tail"] > 0
            ((_, stored),) = kept()
            assert told == {**stored, "tail": told["tail"]}
            assert "tail" not in stored
        summary = run.execute()
    assert (summary.ok, summary.failed) == (1, 0)


def test_a_state_that_cannot_be_completed_costs_its_own_cell(tmp_path: Path) -> None:
    with job("toppling", "leaning", out=tmp_path / "out") as (run, _):
        summary = run.execute()
    assert (summary.ok, summary.failed) == (1, 1)
    assert "nothing to lean on" in summary.failures[0]


def test_a_neighbour_in_the_cache_serves_states_that_go_elsewhere(tmp_path: Path) -> None:
    fit("chained:width=4")
    fit("chained:width=2", into=tmp_path)
    ((about, told),) = kept(tmp_path / "chained")
    assert about["starts_from"] == {"width": 4}
    assert json.loads(told["start"][0]) == {"width": 4}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_neighbour_without_a_state_of_the_same_seed_is_done_without(seed: int) -> None:
    fit("chained:width=4", seed=seed)
    fit("chained:width=2")
    (_, told), *_ = [pair for pair in kept() if pair[0]["point"] == {"width": 2}]
    assert (told["start"] is None) == (seed == 1)


def test_a_fit_goes_further_from_its_own_state(tmp_path: Path) -> None:
    fit("chained", into=tmp_path)
    before = {json.dumps(about["point"]): about for about, _ in kept(tmp_path / "chained")}
    seconds = {path.stem: states.read(path.parent, path.stem) for path in (tmp_path / "chained").glob("*.zip")}
    summary, _ = fit("chained", into=tmp_path, further=True)
    assert (summary.fitted, summary.present) == (3, 0)
    for about, told in kept(tmp_path / "chained"):
        assert json.loads(told["start"][0]) == about["point"]
        assert about == before[json.dumps(about["point"])]
    for key, old in seconds.items():
        new = states.read(tmp_path / "chained", key)
        assert old is not None
        assert new is not None
        assert new.fit_s is not None
        assert old.fit_s is not None
        assert new.fit_s > old.fit_s


def test_what_starts_from_no_state_goes_no_further() -> None:
    fit("frugal")
    summary, _ = fit("frugal", further=True)
    assert (summary.fitted, summary.present) == (0, 1)


def test_further_and_fresh_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--fresh forgets"):
        fit("chained", fresh=True, further=True)


def test_a_run_fits_in_the_same_order(tmp_path: Path) -> None:
    with job("chained", out=tmp_path / "out") as (run, _):
        assert run.execute().ok == 3
    assert [about["starts_from"] for about, _ in kept()] == [{"width": 2}, {"width": 4}, None]
    assert len(Store(tmp_path / "out").records()) == 3


def test_points_that_start_from_each_other_are_fitted_all_the_same() -> None:
    summary, _ = fit("circular")
    assert (summary.fitted, summary.failures) == (2, [])
    assert sorted(about["starts_from"] is None for about, _ in kept()) == [False, True]


def test_a_neighbour_that_cannot_be_is_the_codecs_fault() -> None:
    summary, _ = fit("lost", "frugal")
    reason = "starts_from gave a point with the argument 'depth', which the codec lacks"
    assert summary.failures == [f"stem lost: {reason}"]
    assert summary.fitted == 1


# --- long fits ------------------------------------------------------------------------------------------------------


def test_a_codec_that_needs_a_long_fit_is_skipped_until_its_state_is_there(tmp_path: Path) -> None:
    options = {"out": tmp_path / "out", "preset": "quick"}
    with job("patient", "frugal", **options) as (run, _):
        summary = run.execute()
    assert (summary.ok, summary.skipped, summary.failed) == (1, 3, 0)
    for record in Store(tmp_path / "out").records():
        if record.status == "skipped":
            assert record.reason == (
                "needs a long fit: `codecbench fit --workload tiny --codec patient --split stem --preset quick "
                "--plugin tiny.py --plugin learning.py` makes its state"
            )
    with job("patient", "frugal", **options) as (run, _):
        assert (again := run.execute()).present == 4
    assert again.skipped == 0
    fit("patient:width=3", **options)
    with job("patient", "frugal", **options) as (run, _):
        summary = run.execute()
    assert (summary.ok, summary.present, summary.skipped) == (1, 3, 0)


def test_a_run_that_is_asked_to_fits_for_long(tmp_path: Path) -> None:
    with job("patient", out=tmp_path / "out", fit=True) as (run, _):
        summary = run.execute()
    assert (summary.ok, summary.skipped) == (4, 0)
    assert len(kept()) == 4


def test_the_command_for_a_long_fit_makes_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"preset": "quick", "seed": 3, "cache_dir": tmp_path / "my cache"}
    with job("patient", **options) as (run, _):
        planned = run.plan()
    (reason,) = {cell.skip_reason or "" for cell in planned}
    program, *words = shlex.split(reason.split("`")[1])
    assert program == "codecbench"
    main(words)
    assert "3 fitted, 0 failed, 0 already there" in capsys.readouterr().err
    with job("patient", **options) as (run, _):
        assert [cell.skip_reason for cell in run.plan()] == [None] * 3


# --- samples --------------------------------------------------------------------------------------------------------


def test_a_codec_says_how_many_samples_its_fit_takes() -> None:
    fit("greedy", "frugal", "chained:width=4")
    found = {about["codec"]: (about["sample_set"].rpartition("-")[0], told["count"]) for about, told in kept()}
    assert found == {"greedy": ("fit-40", 40), "frugal": ("fit-10", 10), "chained": ("fit-40", 40)}


def data_hashes() -> list[str]:
    """What the states in the cache say of the data that they were fitted on."""
    found = [states.read(path.parent, path.stem) for path in states.cache_folder().glob("*.zip")]
    return [str(state.data_hash) for state in found if state is not None]


def test_a_state_of_other_data_under_the_same_identifiers_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    fit("chained:width=4")
    assert [len(digest) for digest in data_hashes()] == [64]
    assert fit("chained:width=4")[0].present == 1
    monkeypatch.setattr(Fitter, "data_hash", lambda self, count: "e" * 64)
    assert fit("chained:width=4")[0].fitted == 1
    assert data_hashes() == ["e" * 64]


def without_half(run: Run) -> Run:
    """A run of a user who has half of the training samples."""
    run.fits.fit_ids = run.fits.fit_ids[:20]
    return run


def test_a_state_of_the_whole_set_is_found_by_who_has_a_part(tmp_path: Path) -> None:
    fit("greedy", into=tmp_path)
    with job("greedy") as (run, reporter):
        summary = without_half(run).fit(tmp_path)
    assert (summary.fitted, summary.present, reporter.logged) == (0, 1, [])
    (about, _), = kept(tmp_path / "greedy")  # fmt: skip
    assert about["sample_set"].startswith("fit-40-")


def test_who_has_a_part_fits_on_it_and_finds_that_again() -> None:
    with job("greedy", "frugal", "chained") as (run, reporter):
        assert without_half(run).fit().fitted == 5
    assert reporter.logged == ["20 of 40 training samples are here"]
    found = {about["codec"]: (about["sample_set"].rpartition("-")[0], told["count"]) for about, told in kept()}
    assert found == {"greedy": ("fit-20", 20), "frugal": ("fit-10", 10), "chained": ("fit-20", 20)}
    with job("greedy", "frugal", "chained") as (run, _):
        assert without_half(run).fit().present == 5
    assert fit("greedy", "frugal")[0].present == 1  # with the whole set, only what ten samples were enough for


def test_where_there_is_more_to_fetch_the_command_is_named() -> None:
    with job("greedy") as (run, reporter):
        run.fits.workload = replace(run.fits.workload, dataset="tiny-images")
        without_half(run).fit()
    assert reporter.logged == ["20 of 40 training samples are here; run 'codecbench data get tiny-images' for all"]


def test_what_works_unfitted_runs_where_no_sample_is_here() -> None:
    codecs = ("webp:quality=60", "webp:quality=60,edge=steered")
    with job(*codecs, split=["input"]) as (run, _):
        fit_ids, run.fits.fit_ids = run.fits.fit_ids, ()
        plain, steered = run.plan()
        unfitted = run.fits.state_of(plain)
        with pytest.raises(DataError, match="no sample of 'fit' is here"):
            run.fits.state_of(steered)
        assert not list(states.cache_folder().glob("*.zip"))
        run.fits.fit_ids = fit_ids
        fitted = run.fits.state_of(plain)
    assert (unfitted.fit_s, unfitted.device == unfitted.edge, len(unfitted.edge)) == (None, True, 2)
    assert fitted.fit_s is not None


def test_batches_are_copies_of_the_mapped_samples() -> None:
    assert fit("passes")[0].failures == []


# --- interruptions --------------------------------------------------------------------------------------------------


def parts() -> list[str]:
    folder = states.cache_folder()
    return [path.name for path in folder.iterdir() if path.suffix != ".zip"] if folder.exists() else []


def test_a_fit_that_was_killed_goes_on(tmp_path: Path) -> None:
    summary, _ = fit("dies-once", into=tmp_path)
    assert len(summary.failures) == 1
    assert "the fit process ended with status 1" in summary.failures[0]
    (name,) = parts()
    key = name.removesuffix(".part")
    left = states.read_partial(key)
    assert left is not None
    assert left.saved == b"half"
    assert 0 < left.spent_s < 60
    states.keep_partial(key, PartialFit(left.saved, 1_000.0))

    summary, _ = fit("dies-once", into=tmp_path)
    assert (summary.fitted, summary.failures, parts()) == (1, [], [])
    state = states.read(tmp_path / "dies-once", key.partition("-")[0])
    assert state is not None
    assert json.loads(state.edge)["saved"] == "half"
    assert state.fit_s is not None
    assert 1_000 < state.fit_s < 1_060


# --- a cache that cannot be written to ------------------------------------------------------------------------------


def below_a_file(tmp_path: Path) -> Path:
    """A folder that nobody can make."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "cache"


@pytest.mark.parametrize("named_by", ["option", "environment"])
def test_a_run_goes_on_where_its_states_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    options: dict[str, Any] = {}
    if named_by == "option":
        options["cache_dir"] = below_a_file(tmp_path)
    else:
        monkeypatch.setenv("CODECBENCH_CACHE", str(below_a_file(tmp_path)))
    with job("chained", **options) as (run, reporter):
        cells = run.plan()
        fitted = [run.fits.state_of(cell) for cell in cells]
        again = [run.fits.state_of(cell) for cell in cells]
    assert again == fitted  # found, not fitted anew
    with job("chained") as (run, _):
        usual = [run.fits.state_of(cell) for cell in run.plan()]
    assert [state.edge for state in fitted] == [state.edge for state in usual]
    folder = below_a_file(tmp_path) / "states"
    assert reporter.logged == [
        f"cannot write to {folder} (Not a directory): fitted states are not kept for later runs; "
        "--cache-dir names another folder"
    ]


def test_states_are_kept_in_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODECBENCH_CACHE", str(tmp_path / "by the environment"))
    fit("chained")
    fit("chained", cache_dir=tmp_path / "by the option")
    assert kept(tmp_path / "by the option" / "states") == kept(tmp_path / "by the environment" / "states") != []
    assert not (tmp_path / "cache").exists()


def test_a_fit_whose_states_cannot_be_kept_says_so_before_it_fits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write to .*states \(Not a directory\); name another .* --cache-dir"):
        fit("chained", cache_dir=below_a_file(tmp_path))


def test_a_fit_into_a_folder_needs_no_cache(tmp_path: Path) -> None:
    summary, reporter = fit("dies-once", cache_dir=below_a_file(tmp_path), into=tmp_path / "shipped")
    assert len(summary.failures) == 1
    assert len(reporter.logged) == 1
    summary, _ = fit("chained", cache_dir=below_a_file(tmp_path), into=tmp_path / "shipped")
    assert (summary.fitted, summary.failures) == (len(kept(tmp_path / "shipped" / "chained")), [])


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_arguments: Path("~/.cache/codecbench"))
    with pytest.raises(DataError, match=r"cannot write to .*states \(Not a directory\)"):
        states.keep("0123", FittedState())


def test_fresh_starts_over() -> None:
    fit("dies-once")
    assert len(fit("dies-once", fresh=True)[0].failures) == 1
    assert len(fit("dies-once")[0].failures) == 0


def test_only_bytes_are_saved() -> None:
    assert fit("saves-text")[0].failures == ["stem saves-text: fit: TypeError: save takes bytes, not str"]
    assert parts() == []


# --- training data --------------------------------------------------------------------------------------------------


def test_the_head_runs_once_for_all_codecs_of_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []
    run_head = DeviceClient.run_head
    monkeypatch.setattr(
        DeviceClient, "run_head", lambda *given: heads.append((given[1], len(given[2]))) or run_head(*given)
    )
    with job("passes", "patient", split=["stem", "block"]) as (run, _):
        summary = run.fit()
        assert (summary.fitted, summary.failures) == (10, [])
    assert [subset for subset, _ in heads] == ["fit", "fit"]
