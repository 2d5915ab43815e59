"""Connection to a cluster: a scheduler, workers on this machine, or jobs of a batch system."""

from __future__ import annotations

import asyncio
import logging
import os
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.measure.gpu import VISIBLE, find_accelerators
from benchharness.suite.errors import check
from benchharness.suite.settings import StrictModel

if TYPE_CHECKING:
    from distributed import Client

# A worker with one of it carries out trials, one at a time.
RESOURCE = "benchharness"
# Variables that dask sets for its workers.
PRE_SPAWN = "distributed.nanny.pre-spawn-environ"
INSTALL = 'pip install "benchharness[cluster]"'
WORKER_COMMAND = f"dask worker ADDRESS --nthreads 1 --resources {RESOURCE}=1"
_CONNECT_S = 30.0
_LOCAL = "local:"
_CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}


class JobQueue(StrictModel):
    """Batch system, how many jobs to ask it for, and the options of each.

    Attributes:
        system: Name of the batch system.
        jobs: How many workers there are to be; each is a job, on a host of its own.
        options: Keyword arguments of dask-jobqueue's class for it.
    """

    system: Literal["slurm", "pbs", "sge", "lsf", "htcondor"]
    jobs: int = Field(ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


class ClusterFile(StrictModel):
    """TOML file that describes a cluster."""

    cluster: JobQueue


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect to a cluster for the block; what was started for it ends with it.

    Args:
        address: ``local:N``, the address of a scheduler, its file, or a TOML file with a table
            ``cluster`` that ``JobQueue`` describes.

    Raises:
        RunError: There is no such scheduler, or what it takes is not installed.
        SuiteError: The TOML file is wrong; every problem is named.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise _missing("dask.distributed") from error
    _silence()
    with ExitStack() as resources:
        cluster: Any = None
        if address.startswith(_LOCAL):
            # Set in this process for a moment, where they would pass for the user's own.
            resources.enter_context(dask.config.set({PRE_SPAWN: {}}))
            cluster = resources.enter_context(_local(address))
        elif address.endswith(".toml"):
            cluster = resources.enter_context(_jobs(Path(address)))
        where = {"address": cluster or address}
        if address.endswith(".json"):
            # Dask would wait for it for ever.
            if not Path(address).is_file():
                raise _refused("the file of a running dask scheduler", f"no file {address}")
            where = {"scheduler_file": address}
        try:
            client = distributed.Client(**where, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(
                f"--cluster {address}: expected a dask scheduler, found none ({error}); start one "
                "with: dask scheduler, or name local:N, its scheduler file, or a TOML file for a "
                "batch system"
            ) from error
        yield resources.enter_context(client)


def _local(address: str) -> Any:
    """Return a cluster of processes on this machine, each of which sees one of its GPUs."""
    import distributed

    number = address.removeprefix(_LOCAL)
    if not number.isdigit() or int(number) < 1:
        raise _refused("local:N with N from 1", f'"{address}"')
    gpus = [accelerator.selector for accelerator in find_accelerators(os.environ)]
    workers = {
        place: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": 1,
                "host": "127.0.0.1",
                "resources": {RESOURCE: 1},
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
                "env": {VISIBLE: gpus[place % len(gpus)]} if gpus else {},
            },
        }
        for place in range(int(number))
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard": False},
    }
    return distributed.SpecCluster(
        workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL
    )


def _refused(expected: str, found: str, hint: str = "") -> SuiteError:
    problem = Problem(where="--cluster", expected=expected, found=found, hint=hint)
    return SuiteError("command line", [problem])


def _missing(package: str) -> SuiteError:
    return _refused(f"{package} to be installed", "it missing", INSTALL)


def _silence() -> None:
    """Let dask and what it runs on log nothing here: what matters of it we say ourselves."""
    for name, logger in logging.root.manager.loggerDict.items():
        is_of_dask = name.partition(".")[0] in ("asyncio", "distributed", "tornado")
        if is_of_dask and isinstance(logger, logging.Logger):
            logger.disabled = True


def _jobs(file: Path) -> Any:
    """Return a cluster whose workers are jobs of a batch system."""
    queue = read_cluster_file(file)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise _missing("dask-jobqueue") from error
    cluster = getattr(dask_jobqueue, _CLASSES[queue.system])
    try:
        jobs = cluster(**job_options(queue))
    except (TypeError, ValueError) as error:
        problem = Problem(
            where="cluster.options",
            expected=f"arguments of dask_jobqueue.{cluster.__name__}",
            found=str(error).partition("\n")[0],
        )
        raise SuiteError(str(file), [problem]) from error
    jobs.scale(jobs=queue.jobs)
    # Dask only logs that a job was not taken, and we would wait for it.
    if problems := jobs.sync(_submitted, jobs):
        jobs.close()
        words = " ".join(str(problems[0]).rpartition("stderr:")[2].split())
        raise RunError(f"--cluster {file}: a job could not be submitted: {words}")
    return jobs


async def _submitted(jobs: Any) -> list[BaseException]:
    """Wait until all jobs are submitted; return why some were not."""
    import distributed

    await jobs
    workers = [*jobs.workers.values()]
    results = await asyncio.gather(*workers, return_exceptions=True)
    failed = {w: r for w, r in zip(workers, results, strict=True) if isinstance(r, BaseException)}
    for worker in failed:
        # Else it could not be closed.
        worker.status = distributed.Status.failed
    return [*failed.values()]


def job_options(queue: JobQueue) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's class."""
    return {
        # One worker on a host, or its trials would disturb each other.
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1", "--resources", f"{RESOURCE}=1"],
        **queue.options,
    }


def read_cluster_file(file: Path) -> JobQueue:
    """Return the table ``cluster`` of a TOML file; raise a SuiteError that names every problem."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem(where="--cluster", expected="a TOML file", found=reason)
        raise SuiteError(str(file), [problem]) from error
    if errors := check(ClusterFile, document):
        raise SuiteError(str(file), [error.problem(document) for error in errors])
    return ClusterFile.model_validate(document).cluster
