"""The fitted states that ship: whole, small, current, one for every point of every default split, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.factories import make_info
from support.paths import RESULTS, ROOT
from support.runs import KeptProcesses

from codecbench import TensorSpec
from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.descriptions.describe import describe_workload
from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.config import DEFAULT_WORKLOAD, RunConfig, load
from codecbench.experiment.grid import neighbour
from codecbench.experiment.progress import reporter
from codecbench.fitting import states
from codecbench.fitting.fits import MAX_BYTES, Fits, sample_limit
from codecbench.harness.run import Run
from codecbench.registry import manager, resolve, workloads

CHECKPOINTS = ROOT / "plugins" / "codecbench_plugins" / "checkpoints"
MOST_BYTES = 48_000_000
CATALOGUE = LocalCatalogue(manager())

SEEDS = sorted(RESULTS.glob("seeds-*.toml"))
"""Runs of points that were fitted from several seeds."""


def ships(codec: CodecInfo) -> bool:
    return (codec.checkpoints or "").startswith("codecbench_plugins:")


@pytest.fixture(scope="module")
def cells(kept: KeptProcesses) -> list[PlannedCell]:
    """Every point of a codec that ships states, at every default split of the default workload; and those of SEEDS.

    A steered point of another codec starts from such a state, and copies the tail within seconds.
    """
    named = [name for name in CATALOGUE.names() if ships(CATALOGUE.info(name))]
    planned: list[PlannedCell] = []
    configs = (RunConfig(codec=named, preset="full"), *(load(path, {"samples": 8}) for path in SEEDS))
    with reporter() as report, pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        for config in configs:
            with Run(config, report) as job:
                planned += job.plan()
    return [cell for cell in planned if cell.needs_fit and cell.key.point.get("edge") != "steered"]


@pytest.fixture(scope="module")
def run(kept: KeptProcesses) -> Iterator[Run]:
    with reporter() as report, pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        with Run(RunConfig(codec=["raw"]), report) as job:
            yield job


def key_of(cell: PlannedCell, run: Run) -> str:
    return run.fits.fit_key(cell, run.fits.fit_sets(cell.codec, cell.spec)[0])


def test_every_point_has_a_state_and_every_state_a_point(cells: list[PlannedCell], run: Run) -> None:
    wanted = {f"{cell.key.codec}/{key_of(cell, run)}": cell.label for cell in cells}
    shipped = {f"{path.parent.name}/{path.stem}" for path in CHECKPOINTS.glob("*/*")}
    assert [label for name, label in wanted.items() if name not in shipped] == []
    assert shipped - wanted.keys() == set()


def test_every_state_is_whole_says_what_it_is_and_restores(cells: list[PlannedCell], run: Run) -> None:
    for cell in cells:
        state = states.read(CHECKPOINTS / cell.key.codec, key_of(cell, run))
        assert state is not None, cell.label
        about = dict(state.about)
        nearest = neighbour(cell)
        assert about.pop("starts_from", None) == (nearest.key.point if nearest else None), cell.label
        fitted = {
            "point": cell.codec.fitted_point(cell.key.point),
            "sample_set": run.fits.fit_sets(cell.codec, cell.spec)[0],
        }
        assert about == {**cell.key.to_json(), **fitted}
        for side, kept in (("device", state.device), ("edge", state.edge)):
            codec = resolve(cell.codec.reference)(cell.spec, **cell.key.point)
            codec.restore(side, kept)
            assert codec.export(side) == kept, f"{cell.label}: {side}"


def test_a_user_finds_them_whether_or_not_the_dataset_was_fetched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    limited, greedy = make_info("limited", fit_samples=4000), make_info("greedy", fit_samples=None)
    spec = run.workload.input_spec
    assert run.fits.fit_sets(limited, spec) == ("fit-4000-f0d86dfc",)
    shipped = run.fits.fit_sets(greedy, spec)
    assert [name.rpartition("-")[0] for name in shipped] == ["fit-49000", "fit-4000"]
    monkeypatch.setattr("codecbench_datasets.cifar10.data.is_fetched", lambda data_dir: True)
    workload = describe_workload(workloads(manager())[DEFAULT_WORKLOAD]())
    fetched = Fits(run.config, workload, run.processes, run.fits.fitter, run.reporter)
    assert fetched.fit_sets(greedy, spec) == shipped[:1]
    assert fetched.fit_sets(limited, spec) == run.fits.fit_sets(limited, spec)


def test_large_tensors_are_fitted_on_as_many_as_fit_into_the_bound() -> None:
    spec = TensorSpec((256, 56, 56))
    limits = [sample_limit(make_info("some", fit_samples=limit), spec) for limit in (None, 4000, 100)]
    assert limits == [1337, 1337, 100]
    assert 1337 * spec.nbytes <= MAX_BYTES < 1338 * spec.nbytes
    assert sample_limit(make_info("some", fit_samples=None), TensorSpec((1 << 24, 64))) == 1


def test_states_are_small() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINTS.rglob("*.zip")) < MOST_BYTES
