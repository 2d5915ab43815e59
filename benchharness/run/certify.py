"""Certificates of a plan: each backend is probed once, each pair compared, each result cached."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import PluginError, RunError
from benchharness.files import ANOTHER_CACHE, ANOTHER_RESULTS, json_digest, writable
from benchharness.model.cell import CellKey, cell_key
from benchharness.plugins import REFERENCE, package_digest
from benchharness.run.events import Certified, Observer, Probing
from benchharness.run.requests import Requests, backend_plugin
from benchharness.suite.plan import PlannedCell, Trial
from benchharness.worker.request import WorkerRequest

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate
    from benchharness.fairness.probe import Probe

# Longest that a probe may report no progress, unless the user says otherwise: the slowest seen
# took minutes, and one that hangs would keep a run from starting.
SILENCE_S = 1800.0
# Settings that change how long a cell runs, or where its inputs come from, but not its work.
_IRRELEVANT = ("epochs", "target_top1", "threads", "reuse_features", "head_from", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeJob:
    """Probe of one backend at one cell, cached in ``file``; the reference has no name."""

    backend: str
    cell: PlannedCell
    request: WorkerRequest
    file: Path


@dataclass(slots=True, kw_only=True)
class Certifier:
    """Proof that the backends of a plan do the same work, for each pair of rival cells.

    The cache keeps the probes, each named after all that decides it; ``logs`` is the folder of what
    their workers print.
    """

    requests: Requests
    logs: Path
    observe: Observer
    _failures: dict[Path, str] = field(default_factory=dict)

    @property
    def _cache(self) -> Path:
        return self.requests.session.places.cache / "probes"

    def certificates(self) -> list[Certificate]:
        """Return the certificate of every pair, probing what is not in the cache."""
        groups = [
            (cells, [*map(self._job, cells), self._job(cells[0], is_reference=True)])
            for cells in self.requests.inputs.plan.lines()
            if cells[0].track == "equal" and len(cells) > 1
        ]
        for folder, elsewhere in ((self.logs, ANOTHER_RESULTS), (self._cache, ANOTHER_CACHE)):
            with writable(folder, elsewhere=elsewhere):
                folder.mkdir(parents=True, exist_ok=True)
        missing: dict[str, dict[Path, ProbeJob]] = {}
        for job in (job for _, jobs in groups for job in jobs):
            if isinstance(self._read(job), str):
                missing.setdefault(job.backend, {})[job.file] = job
        done, count = 0, sum(map(len, missing.values()))
        for jobs in missing.values():
            self._probe([*jobs.values()], done=done, count=count)
            done += len(jobs)
        certificates = [
            certificate for cells, jobs in groups for certificate in self._compare(cells, jobs)
        ]
        for number, certificate in enumerate(certificates, start=1):
            self.observe(
                Certified(
                    number=number,
                    count=len(certificates),
                    is_proven=certificate.is_proven,
                    certificate=certificate.as_dict(),
                )
            )
        return certificates

    def _job(self, cell: PlannedCell, *, is_reference: bool = False) -> ProbeJob:
        requests, backend = self.requests, "" if is_reference else cell.backend
        plugin, options = backend_plugin(requests.inputs.plan, backend)
        if is_reference:
            # Settings that the reference supports; its work is the same.
            supported = {"compile": False, "layout": "channels_last"}
            cell = replace(cell, settings=cell.settings.model_copy(update=supported))
            plugin = REFERENCE
        # The cell's first trial, on prepared images.
        first = requests.trial(Trial(cell=cell, index=1, seed=requests.inputs.plan.suite.seed))
        request = replace(
            first,
            plugin=plugin,
            options=options,
            settings={**first.settings, "input": "prepared"},
            files=None,
            # A probe copies few images, and is kept whatever memory is free.
            resident_bytes=0,
        )
        settings = {k: v for k, v in request.settings.items() if k not in _IRRELEVANT}
        digest = json_digest(
            {
                "core": package_digest("benchharness"),
                "plugin": [
                    plugin,
                    dict(options),
                    requests.code(backend, plugin),
                    # The reference skips what takes it too long; as a backend it does not.
                    "reference" if is_reference else "backend",
                ],
                "settings": {**settings, **requests.executor.variables},
                "data": requests.inputs.prepared(cell).digest,
                "weights": (request.pretrained or {}).get("digest"),
                "seed": request.seed,
                # Arithmetic depends on the device.
                "device": [request.device, requests.session.device.name],
            }
        )
        file = self._cache / f"{digest}.safetensors"
        return ProbeJob(backend=backend, cell=cell, request=request, file=file)

    def _probe(self, jobs: Sequence[ProbeJob], *, done: int, count: int) -> None:
        """Run one backend's jobs, after ``done`` others; a cell that ends the process fails."""
        backend, left = jobs[0].backend, deque(jobs)

        def announce_next() -> None:
            if left:
                place = len(jobs) - len(left) + 1
                self.observe(
                    Probing(
                        backend=backend or "float64 reference",
                        benchmark=left[0].cell.benchmark,
                        matrix=left[0].cell.matrix,
                        cell=place,
                        cells=len(jobs),
                        number=done + place,
                        count=count,
                    )
                )

        def finish(reason: str) -> None:
            job = left.popleft()
            if reason:
                self._failures[job.file] = reason

        def on_event(event: Mapping[str, Any]) -> None:
            if event["event"] == "probed":
                finish(event["reason"])
                announce_next()

        stem = f"certificate-{backend or 'reference'}"
        while left:
            announce_next()
            try:
                executor = self.requests.executor_of(backend, left[0].request.plugin)
            except PluginError as error:
                self._failures |= {job.file: str(error) for job in left}
                return
            if executor.silence_s is None:
                executor = replace(executor, silence_s=SILENCE_S)
            cells = tuple(replace(job.request, probe_file=str(job.file)) for job in left)
            outcome = executor.run(
                WorkerRequest(
                    job="probe",
                    threads=jobs[0].request.threads,
                    cells=cells,
                    is_reference=not backend,
                ),
                request_file=self.logs / f"{stem}.json",
                log=self.logs / f"{stem}.log",
                on_event=on_event,
            )
            if outcome.is_final:
                return
            if left:
                finish(outcome.reason)

    def _compare(
        self, cells: Sequence[PlannedCell], jobs: Sequence[ProbeJob]
    ) -> Iterator[Certificate]:
        """Yield the certificate of each pair of cells; the last job is the reference's."""
        from benchharness.fairness.certificate import Certificate, compare

        *probes, reference = map(self._read, jobs)
        for pair in itertools.combinations(zip(cells, probes, strict=True), 2):
            usable = {cell.backend: probe for cell, probe in pair if not isinstance(probe, str)}
            certificate = Certificate(
                benchmark=cells[0].benchmark,
                matrix=cells[0].matrix,
                backends=(pair[0][0].backend, pair[1][0].backend),
                obstacle="; ".join(
                    f"{cell.backend}: {probe}" for cell, probe in pair if isinstance(probe, str)
                ),
            )
            if len(usable) == 2:
                expected = None if isinstance(reference, str) else reference
                findings, deviations = compare(usable, reference=expected)
                certificate = replace(certificate, findings=findings, deviations=deviations)
            yield certificate

    def _read(self, job: ProbeJob) -> Probe | str:
        """Return a probe, or why there is none."""
        from benchharness.fairness.probe import Probe

        if job.file in self._failures:
            return self._failures[job.file]
        try:
            return Probe.read(job.file)
        except (OSError, ValueError) as error:
            return f"its probe cannot be read: {error}"


def verdicts(certificates: Iterable[Certificate]) -> dict[CellKey, dict[str, str]]:
    """Return the verdict of every pair, by cell and by the other backend."""
    by_cell: dict[CellKey, dict[str, str]] = {}
    for certificate in certificates:
        for backend, other in itertools.permutations(certificate.backends):
            key = cell_key(certificate.benchmark, certificate.matrix, "equal", backend)
            by_cell.setdefault(key, {})[other] = certificate.verdict
    return by_cell


def as_dict(certificates: Sequence[Certificate]) -> dict[str, Any]:
    """Return the contents of certificate.json."""
    from benchharness.fairness.tolerances import STAGES

    return {
        "format": 1,
        "certificates": [certificate.as_dict() for certificate in certificates],
        "tolerances": [asdict(stage) for stage in STAGES],
    }


def unproven_pairs(certificates: Iterable[Certificate]) -> list[str]:
    """Return the pairs that are not proven to do the same work, with their verdicts."""
    return [f"{c.name}: {c.verdict}" for c in certificates if not c.is_proven]


def require_proven(unproven: Sequence[str]) -> None:
    """Raise a RunError that names the pairs not proven to do the same work, if there are any."""
    if unproven:
        raise RunError(
            f"not every pair of backends is proven to do the same work: {'; '.join(unproven)} "
            "(nothing was timed; to time it anyway, leave out --require-proof)"
        )
