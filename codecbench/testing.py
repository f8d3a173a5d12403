"""The conformance kit: the checks of codecs and of workloads, as pytest tests or as a list of outcomes.

A plugin author writes

    from codecbench.testing import parametrize_codec
    from mycodec import MyCodec

    @parametrize_codec(MyCodec)
    def test_conformance(check):
        check()

and gets one test id for each check at each spec and point, such as `zlib[level=3]-(4, 8, 8)-check_same_bytes`.
`parametrize_workload` does the same for a workload. `codecbench check` prints the same outcomes.
docs/reference/kit.md describes each check and the limits of the kit.

If a check fails, the checks that depend on it are skipped and name it: one fault gives one failure.
Importing this module imports neither torch nor pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import UsageError
from codecbench.kit import checks  # noqa: F401 - importing the module registers the checks
from codecbench.kit.golden import Golden, golden_change, golden_files, golden_of, golden_path
from codecbench.kit.runner import (
    CHECKS,
    CheckFailed,
    Kit,
    Outcome,
    Points,
    quick_points,
    subject_label,
)
from codecbench.kit.workload_checks import WORKLOAD_CHECKS
from codecbench.kit.workload_runner import WorkloadKit
from codecbench.names import pick
from codecbench.workload import Workload

if TYPE_CHECKING:
    import pytest

__all__ = [
    "CHECKS", "WORKLOAD_CHECKS", "CheckFailed", "Outcome", "described_workload", "parametrize_codec",
    "parametrize_workload", "run_checks", "run_workload_checks", "write_golden",
]  # fmt: skip


def run_checks(
    codecs: type[Codec] | Sequence[type[Codec]],
    *,
    specs: Sequence[TensorSpec] | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    update_golden: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run every check of these codecs and return the outcomes; `on_outcome` is called with each as soon as it is known.

    `update_golden` first writes the golden files that are missing or of an older version. `expected_failed_checks` maps
    names of checks to the reasons why their failure is accepted; its status is then `expected`. Raises UsageError for
    an unknown name in it.
    """
    expected = _known_checks(expected_failed_checks, CHECKS)
    for codec in _as_list(codecs) if update_golden else ():
        write_golden(codec, specs=specs)
    kit = Kit(_as_list(codecs), specs)
    outcomes: list[Outcome] = []

    def add(outcome: Outcome) -> None:
        outcomes.append(outcome)
        on_outcome(outcome)

    try:
        for skip in kit.skips:
            add(skip)
        for check, subject in kit.subjects():
            add(_expect(kit.outcome(check, subject), expected))
    finally:
        kit.close()
    return outcomes


def parametrize_codec(
    codecs: type[Codec] | Sequence[type[Codec]],
    *,
    specs: Sequence[TensorSpec] | None = None,
    points: Points = quick_points,
    expected_failed_checks: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Return a pytest decorator that runs the test once for each check of these codecs, passed to it as `check`.

    `specs` replaces DEFAULT_SPECS. `points` maps a codec and a spec to the points to check, by default the quick ones.
    `expected_failed_checks` maps names of checks to the reasons why their failure is accepted; their tests are marked
    xfail. Raises UsageError for an unknown name in it.
    """
    import pytest

    expected = _known_checks(expected_failed_checks, CHECKS)
    kit = Kit(_as_list(codecs), specs, points)
    tests = [pytest.param(_Skip(outcome), id=outcome.id) for outcome in kit.skips]
    for check, subject in kit.subjects():
        run = _Run(partial(kit.outcome, check, subject))
        marks = _xfail(expected.get(check.name))
        tests.append(pytest.param(run, id=f"{subject_label(subject)}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", tests)


def run_workload_checks(
    workload: type[Workload],
    *,
    data_dir: Path | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run every check of a workload and return the outcomes; see `run_checks`. `data_dir` is the folder of datasets."""
    expected, kit = _known_checks(expected_failed_checks, WORKLOAD_CHECKS), WorkloadKit(workload, data_dir)
    outcomes: list[Outcome] = []
    for check in WORKLOAD_CHECKS.values():
        outcomes.append(_expect(kit.outcome(check), expected))
        on_outcome(outcomes[-1])
    return outcomes


def parametrize_workload(
    workload: type[Workload],
    *,
    data_dir: Path | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Return a pytest decorator that runs the test once for each check of a workload, passed to it as `check`.

    `data_dir` is the folder of datasets; `expected_failed_checks` is as in `parametrize_codec`.
    """
    import pytest

    expected, kit = _known_checks(expected_failed_checks, WORKLOAD_CHECKS), WorkloadKit(workload, data_dir)
    return pytest.mark.parametrize("check", [
        pytest.param(
            _Run(partial(kit.outcome, check)), id=f"{kit.case.label}-{check.name}",
            marks=_xfail(expected.get(check.name)),
        )
        for check in WORKLOAD_CHECKS.values()
    ])  # fmt: skip


def described_workload(path: str | Path) -> type[Workload]:
    """Return the workload that a TOML file describes by its model, data and task. Paths count from its folder.

    Raises UsageError if the file describes none.
    """
    from codecbench.adapters.described import workload_class
    from codecbench.experiment.config import load

    description = load(Path(path), {}).description
    if description is None:
        raise UsageError(f"{path} describes no workload; give it the keys model, data and task")
    return workload_class(description)


def _xfail(reason: str | None) -> list[pytest.MarkDecorator]:
    import pytest

    return [pytest.mark.xfail(reason=reason, strict=False)] if reason else []


@dataclass(frozen=True)
class _Run:
    outcome_of: Callable[[], Outcome]

    def __call__(self) -> None:
        outcome = self.outcome_of()
        if outcome.status == "failed":
            raise CheckFailed(outcome.reason) from outcome.error
        if outcome.status == "skipped":
            _Skip(outcome)()


@dataclass(frozen=True)
class _Skip:
    outcome: Outcome

    def __call__(self) -> None:
        import pytest

        pytest.skip(self.outcome.reason)


def write_golden(codec: type[Codec], *, specs: Sequence[TensorSpec] | None = None) -> list[Path]:
    """Write the golden files that are missing or of another version, and return their paths.

    Files of the codec's present version are never replaced; those of other versions are removed. A case that fails
    `check_decode_gives_tensor` gets no file. Raises UsageError if a file of the present version no longer decodes to
    the same values: raise the version first.
    """
    found = {path: Golden.read(path) for path in golden_files(codec)}
    present = [path for path, golden in found.items() if golden.version == codec.version]
    kit = Kit([codec], specs)
    for path in present:
        change = golden_change(codec, found[path])
        if change:
            raise UsageError(f"{path.name}: {change}; raise {codec.name}'s version before new golden files are written")
    written = []
    for case in kit.cases:
        path = golden_path(codec, case.spec, case.point)
        if path not in present and kit.outcome(CHECKS["check_decode_gives_tensor"], case).status == "passed":
            golden_of(case).write(path)
            written.append(path)
    for path in found.keys() - {*present, *written}:
        path.unlink()
    return written


def _as_list(codecs: type[Codec] | Sequence[type[Codec]]) -> list[type[Codec]]:
    return [codecs] if isinstance(codecs, type) else list(codecs)


def _known_checks(expected: Mapping[str, str] | None, known: Mapping[str, Any]) -> Mapping[str, str]:
    for name in expected or {}:
        pick(known, name, "check")
    return expected or {}


def _expect(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    if outcome.status != "failed" or outcome.check not in expected:
        return outcome
    reason = f"{expected[outcome.check]} ({outcome.reason})"
    return Outcome(outcome.subject, outcome.check, "expected", reason, outcome.error)
