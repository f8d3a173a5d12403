"""The executor that a configuration names."""

from __future__ import annotations

from codecbench.errors import UsageError
from codecbench.executors.executor import Executor
from codecbench.executors.processes import ProcessExecutor
from codecbench.executors.slurm_jobs import SlurmExecutor, parsed_parameters
from codecbench.experiment.config import RunConfig
from codecbench.measure import cores


def check_executor(config: RunConfig) -> None:
    """Raise UsageError for options of another executor than the one that is named."""
    if config.jobs is not None and config.executor == "local":
        raise UsageError(f"--jobs {config.jobs} needs --executor processes, dask or slurm: `local` runs on all cores")
    if config.dask is not None and config.executor != "dask":
        raise UsageError(f"--dask {config.dask} needs --executor dask")
    if config.shared_dir is not None and config.executor != "slurm":
        raise UsageError(f"--shared-dir {config.shared_dir} needs --executor slurm")
    if config.slurm and config.executor != "slurm":
        raise UsageError(f"--slurm {config.slurm[0]} needs --executor slurm")
    if config.executor == "slurm":
        parsed_parameters(config.slurm)
        if config.shared_dir is None:
            raise UsageError("--executor slurm needs --shared-dir: a folder that this and all other machines see")
        if config.jobs is None:
            raise UsageError("--executor slurm needs --jobs: the number of jobs that run at once")
    if config.measure == "timing" and config.executor != "local":
        raise UsageError(f"--measure timing runs on this machine alone; leave --executor {config.executor} out")
    if config.measure == "timing" and config.fresh:
        raise UsageError("--fresh forgets what is scored and --measure timing needs it; take one")


def elsewhere(config: RunConfig) -> bool:
    """Return True if crews may run on other machines, whose software and data may be others."""
    return config.executor in ("dask", "slurm")


def slots_of(config: RunConfig) -> int:
    """Return the number of units that run at once, as far as the options tell; 1 with the default executor."""
    if config.executor == "local":
        return 1
    return config.jobs or cores()


def open_executor(config: RunConfig, set_up: bytes) -> Executor:
    """Return a running executor, whose crews are set up by this frame. The caller closes it."""
    if config.executor == "dask":
        from codecbench.executors.dask_cluster import DaskExecutor

        return DaskExecutor(set_up, config.dask, config.jobs)
    if config.executor == "slurm":
        assert config.shared_dir is not None
        assert config.jobs is not None
        return SlurmExecutor(set_up, config.shared_dir, config.jobs, parsed_parameters(config.slurm))
    return ProcessExecutor(set_up, config.jobs)
