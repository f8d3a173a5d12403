"""Runs the checks of workloads: each at most once, behind those that it needs."""

from __future__ import annotations

from pathlib import Path

from codecbench.errors import CodecbenchError, one_line
from codecbench.kit.runner import CheckFailed, CheckSkipped, Outcome
from codecbench.kit.workload_cases import WorkloadCase
from codecbench.kit.workload_checks import WORKLOAD_CHECKS, WorkloadCheck
from codecbench.locations import raised_location
from codecbench.workload import Workload


class WorkloadKit:
    """The checks of one workload, and their outcomes so far."""

    def __init__(self, workload: type[Workload], data_dir: Path | None = None) -> None:
        self.case = WorkloadCase(workload, data_dir)
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, check: WorkloadCheck) -> Outcome:
        """Return the outcome of a check. It and the checks that it needs run at most once."""
        if check.name not in self._outcomes:
            self._outcomes[check.name] = self._run(check)
        return self._outcomes[check.name]

    def _run(self, check: WorkloadCheck) -> Outcome:
        label = self.case.label
        for name in check.needs:
            needed = self.outcome(WORKLOAD_CHECKS[name])
            if needed.status == "failed":
                return Outcome(label, check.name, "skipped", f"needs {name}, which fails")
            if needed.status == "skipped" and needed.reason.startswith("needs "):
                return Outcome(label, check.name, "skipped", needed.reason)
        try:
            check.run(self.case)
        except CheckSkipped as skip:
            return Outcome(label, check.name, "skipped", str(skip))
        except (CheckFailed, CodecbenchError) as failure:
            return Outcome(label, check.name, "failed", str(failure), failure)
        except Exception as error:
            place = raised_location(error)
            reason = f"the workload raised {one_line(error)}{f' ({place})' if place else ''}"
            return Outcome(label, check.name, "failed", reason, error)
        return Outcome(label, check.name, "passed")
