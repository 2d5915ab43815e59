"""Certificates for a plan: every backend probed once, each pair compared, nothing proven twice."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import PluginError
from benchharness.files import ANOTHER_CACHE, writable
from benchharness.plugins import REFERENCE, code_digest, find, package_digest
from benchharness.run.events import Certified, Observer, Probing
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import Requests, backend_plugin
from benchharness.suite.plan import Cell, Plan
from benchharness.worker.probe_request import ProbeRequest

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate
    from benchharness.fairness.probe import Probe

Point = tuple[str, str]
# Longest that a backend may take to be probed at a cell, unless the user says otherwise: the
# slowest that were seen took minutes, and one that hangs would keep a run from ever beginning.
SILENCE_S = 1800.0
# What changes how long a cell runs, and nothing of what it does.
_INDIFFERENT = ("epochs", "target_top1", "threads", "reuse_features", "head_from", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeJob:
    """One cell to be probed in one backend, or in the reference.

    Attributes:
        name: Of the backend, or ``reference``.
        file: Where its probe is, or will be.
    """

    name: str
    cell: Cell
    file: Path


@dataclass(slots=True, kw_only=True)
class Certifier:
    """Proves for each pair of cells that differ only in their backend that the work is the same.

    Attributes:
        machine: What the arithmetic depends on besides software: the device's name.
        cache: Folder of the probes, each named after all that decides it.
        logs: Folder of what the probers print.
        observe: Told of each cell before it is probed, and of each certificate.
        elsewhere: Executors of backends whose code is not what this process would import.
        seconds: What probing took; 0 where every probe was there.
    """

    plan: Plan
    requests: Requests
    executor: LocalExecutor
    machine: str
    cache: Path
    logs: Path
    observe: Observer
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    seconds: float = 0.0
    _obstacles: dict[Path, str] = field(default_factory=dict)

    def certificates(self) -> list[Certificate]:
        """Return the certificate of every pair, probing what has not been probed before."""
        groups = rivals(self.plan.cells)
        errands = {point: self._errands(cells) for point, cells in groups.items()}
        self._probe(itertools.chain.from_iterable(errands.values()))
        found = [
            certificate
            for point, cells in groups.items()
            for certificate in self._compared(cells, errands[point])
        ]
        for number, certificate in enumerate(found, start=1):
            self.observe(
                Certified(
                    number=number,
                    count=len(found),
                    is_proven=certificate.is_proven,
                    certificate=certificate.as_dict(),
                )
            )
        return found

    def _errands(self, cells: Sequence[Cell]) -> list[ProbeJob]:
        own = [
            ProbeJob(name=cell.backend, cell=cell, file=self._file(cell, cell.backend))
            for cell in cells
        ]
        plain = _reference_cell(cells[0])
        return [*own, ProbeJob(name="", cell=plain, file=self._file(plain, None))]

    def _file(self, cell: Cell, backend: str | None) -> Path:
        """Return where a probe is kept: under the digest of all that decides it."""
        plugin, options = self._plugin(backend)
        try:
            code = code_digest(find(plugin))
        except PluginError:
            code = "not installed"
        if backend is not None and backend in self.elsewhere:
            code = self.elsewhere[backend].code
        request = asdict(self.requests.make_for_proof(cell, plugin=plugin, options=options))
        settings = {
            name: value for name, value in request["settings"].items() if name not in _INDIFFERENT
        }
        facts = {
            "core": package_digest("benchharness"),
            # The reference leaves out what takes it too long; the same plugin as a backend may not.
            "plugin": [plugin, dict(options), code, "reference" if backend is None else "backend"],
            "settings": {**settings, **self.executor.variables},
            "data": self.requests.materials.prepared(cell).digest,
            "weights": (request["pretrained"] or {}).get("digest"),
            "seed": request["seed"],
            "device": [request["device"], self.machine],
        }
        text = json.dumps(facts, sort_keys=True)
        return self.cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def _plugin(self, backend: str | None) -> tuple[str, Mapping[str, Any]]:
        return backend_plugin(self.plan, backend) if backend else (REFERENCE, {})

    def _probe(self, errands: Iterable[ProbeJob]) -> None:
        """Probe what is not in the cache, a process for each backend."""
        with writable(self.cache, elsewhere=ANOTHER_CACHE):
            self.cache.mkdir(parents=True, exist_ok=True)
        by_backend: dict[str, dict[Path, ProbeJob]] = {}
        for errand in errands:
            if isinstance(self._read(errand), str):
                by_backend.setdefault(errand.name, {})[errand.file] = errand
        done, count = 0, sum(map(len, by_backend.values()))
        for name, missing in by_backend.items():
            turn = _ProbeBatch(name, list(missing.values()), before=done, count=count)
            self._run(turn)
            done += len(missing)

    def _run(self, turn: _ProbeBatch) -> None:
        """Probe cells in one process; where it dies, note the cell and go on in another."""
        name, pending = turn.name, turn.errands
        while pending:
            reasons: list[str] = []

            def take(
                event: Mapping[str, Any],
                reasons: list[str] = reasons,
                pending: list[ProbeJob] = pending,
            ) -> None:
                if event["event"] != "probed":
                    return
                reasons.append(event["reason"])
                if len(reasons) < len(pending):
                    self.observe(turn.probing(pending[len(reasons)]))

            self.observe(turn.probing(pending[0]))
            try:
                reason = self._execute(name, pending, take)
            except PluginError as error:
                self._obstacles |= {errand.file: str(error) for errand in pending}
                return
            for errand, obstacle in zip(pending, reasons, strict=False):
                if obstacle:
                    self._obstacles[errand.file] = obstacle
            if not reason:
                return
            pending = pending[len(reasons) :]
            self._obstacles[pending[0].file] = reason
            pending = pending[1:]

    def _execute(
        self, name: str, errands: Sequence[ProbeJob], take: Callable[[Mapping[str, Any]], None]
    ) -> str:
        """Run one prober and return how it died; empty when it did not."""
        plugin, options = self._plugin(name or None)
        if name not in self.elsewhere:
            find(plugin)
        cells = tuple(
            self.requests.make_for_proof(errand.cell, plugin=plugin, options=options)
            for errand in errands
        )
        stem = f"certificate-{name or 'reference'}"
        executor = self.elsewhere.get(name, self.executor)
        if executor.silence_s is None:
            executor = replace(executor, silence_s=SILENCE_S)
        outcome = executor.run(
            ProbeRequest(
                cells=cells,
                files=tuple(str(errand.file) for errand in errands),
                is_reference=not name,
            ),
            request_file=self.logs / f"{stem}.json",
            log=self.logs / f"{stem}.log",
            on_event=take,
        )
        return "" if outcome.is_final else outcome.reason

    def _compared(
        self, cells: Sequence[Cell], errands: Sequence[ProbeJob]
    ) -> Iterator[Certificate]:
        from benchharness.fairness.certificate import Certificate, compare

        *own, reference = errands
        expected = self._read(reference)
        for (one, mine), (other, theirs) in itertools.combinations(zip(cells, own, strict=True), 2):
            sides = {one.backend: self._read(mine), other.backend: self._read(theirs)}
            names = (one.backend, other.backend)
            probes = {name: side for name, side in sides.items() if not isinstance(side, str)}
            if len(probes) < 2:
                obstacle = "; ".join(
                    f"{name}: {side}" for name, side in sides.items() if isinstance(side, str)
                )
                yield Certificate(
                    benchmark=one.benchmark, matrix=one.matrix, backends=names, obstacle=obstacle
                )
                continue
            findings, deviations = compare(
                probes, reference=None if isinstance(expected, str) else expected
            )
            yield Certificate(
                benchmark=one.benchmark,
                matrix=one.matrix,
                backends=names,
                findings=findings,
                deviations=deviations,
            )

    def _read(self, errand: ProbeJob) -> Probe | str:
        """Return a probe, or why there is none."""
        from benchharness.fairness.probe import Probe

        if errand.file in self._obstacles:
            return self._obstacles[errand.file]
        try:
            return Probe.read(errand.file)
        except (OSError, ValueError) as error:
            return f"its probe cannot be read: {error}"


@dataclass(frozen=True, slots=True)
class _ProbeBatch:
    """The cells that one backend is probed at.

    Attributes:
        name: Of the backend; empty for the reference.
        before: How many cells other backends were probed at before.
        count: How many are probed in all.
    """

    name: str
    errands: list[ProbeJob]
    before: int
    count: int

    def probing(self, errand: ProbeJob) -> Probing:
        """Return the event that one of them begins."""
        place = self.errands.index(errand) + 1
        return Probing(
            backend=self.name or "float64 reference",
            benchmark=errand.cell.benchmark,
            matrix=errand.cell.matrix,
            cell=place,
            cells=len(self.errands),
            number=self.before + place,
            count=self.count,
        )


def _reference_cell(cell: Cell) -> Cell:
    """Return the cell as the reference can compute it: how is the others' affair, not what."""
    how = {"compile": False, "layout": "channels_last"}
    return replace(cell, settings=cell.settings.model_copy(update=how))


def rivals(cells: Iterable[Cell]) -> dict[Point, list[Cell]]:
    """Return the cells of the equal track that differ only in their backend, two or more each."""
    groups: dict[Point, list[Cell]] = {}
    for cell in cells:
        if cell.track == "equal":
            groups.setdefault(point_of(cell), []).append(cell)
    return {point: group for point, group in groups.items() if len(group) > 1}


def point_of(cell: Cell) -> Point:
    """Return what the cells of one comparison have in common."""
    return cell.benchmark, repr(sorted(cell.matrix.items()))


def verdicts(certificates: Iterable[Certificate]) -> dict[tuple[Point, str], dict[str, str]]:
    """Return the verdict of every pair, by cell (its point and backend) and other backend."""
    found: dict[tuple[Point, str], dict[str, str]] = {}
    for certificate in certificates:
        point = certificate.benchmark, repr(sorted(certificate.matrix.items()))
        one, other = certificate.backends
        found.setdefault((point, one), {})[other] = certificate.verdict
        found.setdefault((point, other), {})[one] = certificate.verdict
    return found


def as_dict(certificates: Sequence[Certificate]) -> dict[str, Any]:
    """Return the contents of certificate.json."""
    from benchharness.fairness.tolerances import STAGES

    return {
        "format": 1,
        "certificates": [certificate.as_dict() for certificate in certificates],
        "tolerances": [asdict(stage) for stage in STAGES],
    }
