"""Check of an installed plugin: pytest over its contract, clause by clause, in a worker."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from benchharness.api import Backend, Execution, Setting
from benchharness.errors import RunError
from benchharness.plugins import distribution, find, load_backend
from benchharness.run.process.executor import Event, Stop, WorkerProcess
from benchharness.run.process.exit import log_tail
from benchharness.testing.assertions import REFUSED, Clause, Subject
from benchharness.testing.contract import BackendContract
from benchharness.testing.contract_plugin import (
    CORE,
    REFERENCE,
    ImportCost,
    Imports,
    MissingFramework,
    PluginContract,
    core_imports,
    is_in,
)
from benchharness.testing.loading import framework_of, observe_loading
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest, worker_command

PACKAGE_CLAUSES: tuple[type[Clause], ...] = PluginContract.__bases__
BACKEND_CLAUSES: tuple[type[Clause], ...] = BackendContract.__bases__
# Checks that carry out each kind of work, and the kinds that each strategy is made of.
_FEED, _EXTRACT, _TRAIN = (
    "test_feeding_reports_every_batch_once[plain]",
    "test_extracted_features_are_the_references[maps]",
    "test_training_starts_from_the_given_weights",
)
STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "dataset": (_FEED,),
    "simple_cnn": (_TRAIN,),
    "bottleneck": (_EXTRACT, _TRAIN),
    "fine_tune": (_TRAIN,),
}
# Plugins of the user's pytest, its settings and its report are left out.
_PYTEST_OPTIONS = (
    *("-c", os.devnull, "--rootdir", str(Path(__file__).parent), "--noconftest"),
    *("--import-mode=importlib", "--assert=plain", "--capture=no"),
    *(f"-pno:{name}" for name in ("terminal", "warnings", "cacheprovider", "faulthandler")),
    "-pno:unraisableexception",
)
_SUBJECT = pytest.StashKey[Any]()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        check: Name of the test, and in brackets its parameters.
        outcome: ``refused`` where the backend says that it cannot, or nothing can be asked.
        reason: Why it is not kept; else empty.
    """

    check: str
    outcome: Literal["kept", "broken", "refused"]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseResult:
    """Outcome of a clause.

    Attributes:
        name: Of the clause, for programs.
        title: What it demands, for people.
        remark: What else is worth knowing; perhaps empty.
    """

    name: str
    title: str
    checks: tuple[CheckResult, ...]
    remark: str = ""

    @property
    def outcome(self) -> str:
        """``broken`` where any check is, ``refused`` where all are, else ``kept``."""
        outcomes = {check.outcome for check in self.checks}
        if "broken" in outcomes:
            return "broken"
        return "refused" if outcomes == {"refused"} else "kept"

    @property
    def refusals(self) -> tuple[str, ...]:
        """Reasons of the backend against something, each once."""
        return tuple(dict.fromkeys(c.reason for c in self.checks if c.outcome == "refused"))

    @property
    def faults(self) -> tuple[CheckResult, ...]:
        """Broken checks."""
        return tuple(check for check in self.checks if check.outcome == "broken")

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON knows it."""
        return {
            "name": self.name,
            "title": self.title,
            "outcome": self.outcome,
            "checks": len(self.checks),
            "remark": self.remark,
            "faults": {fault.check: fault.reason for fault in self.faults},
            "refusals": list(self.refusals),
        }


@dataclass(slots=True, kw_only=True)
class PluginCheck:
    """Check of a plugin against the whole contract: the package, then the backend.

    Attributes:
        name: Of the installed plugin.
        options: For its hook.
        results: Of the clauses so far.
    """

    name: str
    options: Mapping[str, Setting]
    device: Literal["cpu", "gpu"] = "cpu"
    results: list[ClauseResult] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether nothing that was checked is broken."""
        return all(result.outcome != "broken" for result in self.results)

    @property
    def refusals(self) -> dict[str, str]:
        """Reason of the backend against each strategy that it does not carry out."""
        checks = [check for result in self.results for check in result.checks]
        reasons = {check.check: check.reason for check in checks if check.outcome == "refused"}
        return {
            strategy: next(reasons[check] for check in needed if check in reasons)
            for strategy, needed in STRATEGIES.items()
            if not reasons.keys().isdisjoint(needed)
        }

    @property
    def strategies(self) -> list[str]:
        """Names of the strategies that the backend carries out."""
        return [name for name in STRATEGIES if name not in self.refusals]

    @property
    def distribution(self) -> str:
        """Name and version of the plugin's distribution."""
        return distribution(find(self.name))

    def run(self) -> Iterator[ClauseResult]:
        """Yield the outcome of each clause as it becomes known.

        Raises:
            PluginError: No plugin of that name is installed, or loading it ends the process.
        """
        is_loaded = not observe_loading(self.name, options=self.options).error
        clauses = list(PACKAGE_CLAUSES + BACKEND_CLAUSES if is_loaded else PACKAGE_CLAUSES)
        running, failure = "", ""
        request = WorkerRequest(
            job="check", plugin=self.name, options=self.options, device=self.device
        )
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder, "request.json"), Path(folder, "log")
            request.write(file)
            worker = WorkerProcess(worker_command(file), environment=os.environ, log=log)
            event: Event | Stop | None = None
            try:
                while not isinstance(event := worker.next_event(), str):
                    match event["event"]:
                        case "check":
                            running = event["check"]
                        case "clause":
                            checks = [CheckResult(**check) for check in event["checks"]]
                            yield self._keep(clauses.pop(0), *checks)
                        case "finished" if event["status"] != "ok":
                            failure = event["reason"]
            finally:
                worker.end(is_patient=not clauses or event == "ended")
            if clauses:
                reason = failure or _death(worker.process.returncode, running, log)
                broken = CheckResult(check=running, outcome="broken", reason=reason)
                yield self._keep(clauses[0], broken)
        # Without a backend there is nothing more to check, and that is said above.
        if is_loaded:
            check = CheckResult(check="strategies", outcome="kept")
            if not self.strategies:
                reasons = "; ".join(dict.fromkeys(self.refusals.values()))
                reason = f"strategies: expected one, found none: {reasons}"
                check = CheckResult(check="strategies", outcome="broken", reason=reason)
            result = ClauseResult(
                name="strategies",
                title="carries out at least one strategy",
                checks=(check,),
                remark=", ".join(self.strategies),
            )
            self.results.append(result)
            yield result

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON knows it."""
        return {
            "plugin": self.name,
            "distribution": self.distribution,
            "is_kept": self.is_kept,
            "strategies": self.strategies,
            "refused": self.refusals,
            "items": [result.as_dict() for result in self.results],
        }

    def _keep(self, clause: type[Clause], *checks: CheckResult) -> ClauseResult:
        """Keep and return the outcome of a clause, with what else is worth knowing of it."""
        entry, loading = find(self.name), observe_loading(self.name, options=self.options)
        remark = ""
        # A plugin that breaks it may have files that cannot be parsed.
        is_kept = all(check.outcome == "kept" for check in checks)
        if clause is Imports and is_kept and not is_in(entry.module, CORE):
            used = core_imports(entry)
            files = sorted({file for file, _, module in used if is_in(module, REFERENCE)})
            remark = f"the reference still works in {', '.join(files)}" if files else ""
        elif clause is ImportCost:
            remark = f"{loading.import_ms:.0f} ms"
        elif clause is MissingFramework:
            remark = framework_of(entry, loading.needs)
        result = ClauseResult(name=clause.clause, title=title(clause), checks=checks, remark=remark)
        self.results.append(result)
        return result


def title(clause: type[Clause]) -> str:
    """Return what a clause demands, for people."""
    text = (clause.__doc__ or clause.clause).partition("\n")[0].removesuffix(".")
    return text[0].lower() + text[1:]


def _death(code: int, running: str, log: Path) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    last = "".join(f"; it printed last: {line}" for line in log_tail(log)[-1:])
    return f"the process {how} in {running or 'loading the plugin'}{last}"


# In the worker.


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Check the requested plugin and report the outcome of each clause."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugin, options = request.plugin, request.options
    ContractSession(subject=(plugin, options), emit=channel.emit).run(TestPackage)
    if observe_loading(plugin, options=options).error:
        return
    backend = load_backend(plugin, options=options)
    subject = Subject(backend, Execution(device=request.device, threads=1))
    ContractSession(subject=subject, emit=channel.emit).run(TestBackend)


class TestBackend(BackendContract):
    """The contract of the backend that is checked."""

    @pytest.fixture
    def subject(self, pytestconfig: pytest.Config) -> Subject:
        """Return the backend and its execution."""
        subject: Subject = pytestconfig.stash[_SUBJECT]
        return subject


class TestPackage(PluginContract):
    """The contract of the package that is checked."""

    @pytest.fixture
    def plugin(self, pytestconfig: pytest.Config) -> str:
        """Return the name of the plugin."""
        return str(pytestconfig.stash[_SUBJECT][0])

    @pytest.fixture
    def options(self, pytestconfig: pytest.Config) -> Mapping[str, Setting]:
        """Return its options."""
        return dict(pytestconfig.stash[_SUBJECT][1])


@dataclass(slots=True, kw_only=True)
class ContractSession:
    """Session of pytest over a contract, as a plugin of pytest that reports clause by clause.

    Attributes:
        subject: The ``Subject`` that is checked; of a package, its name and options.
        emit: Takes an event ``check`` with the name of each check before it is carried out, and an
            event ``clause`` with the name of each clause and the outcome of its ``checks``.
        clauses: Names of the only clauses to check; empty for all.
    """

    subject: object
    emit: Callable[[dict[str, Any]], None]
    clauses: Collection[str] = ()
    _checks: list[CheckResult] = field(default_factory=list)

    def run(self, contract: type) -> None:
        """Carry out the checks of ``TestBackend`` or ``TestPackage``.

        Raises:
            RunError: They could not be started.
        """
        code = pytest.main([*_PYTEST_OPTIONS, f"{__file__}::{contract.__name__}"], plugins=[self])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise RunError(f"plugin check: pytest {pytest.__version__} ended with exit code {code}")

    def pytest_configure(self, config: pytest.Config) -> None:
        """Hand the subject to the fixtures."""
        config.stash[_SUBJECT] = self.subject

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        """Put the checks into the order of the clauses."""
        order = [clause.clause for clause in PACKAGE_CLAUSES + BACKEND_CLAUSES]
        items.sort(key=lambda item: order.index(_clause(item)))
        if self.clauses:
            items[:] = [item for item in items if _clause(item) in self.clauses]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Function, nextitem: pytest.Function | None
    ) -> Generator[None, bool, bool]:
        """Tell of the check, and of its clause after its last check."""
        self.emit({"event": "check", "check": item.name})
        is_done = yield
        if nextitem is None or _clause(nextitem) != _clause(item):
            checks = [asdict(check) for check in self._checks]
            self.emit({"event": "clause", "clause": _clause(item), "checks": checks})
            self._checks = []
        return is_done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the outcome of a check."""
        if call.excinfo is not None:
            self._checks.append(self._failure(item.name, call.excinfo.value))
        elif call.when == "call":
            self._checks.append(CheckResult(check=item.name, outcome="kept"))
        return (yield)

    def _failure(self, check: str, error: BaseException) -> CheckResult:
        if isinstance(error, pytest.skip.Exception):
            reason = str(error).removeprefix(REFUSED)
            return CheckResult(check=check, outcome="refused", reason=reason)
        if isinstance(error, AssertionError | pytest.fail.Exception):
            reason = str(error).strip() or "an assertion failed"
        else:
            reason = _error_text(error, getattr(self.subject, "backend", None))
        return CheckResult(check=check, outcome="broken", reason=reason)


def _clause(item: pytest.Function) -> str:
    """Return the name of the clause that a check belongs to."""
    return str(item.function.clause)


def _error_text(error: BaseException, backend: Backend | None) -> str:
    """Return an exception with the last line of the backend's package that it came through."""
    package = type(backend).__module__.partition(".")[0]
    places = [
        f" ({Path(frame.f_code.co_filename).name}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == package
    ]
    text = str(error).strip() or "no message"
    return "".join([f"{type(error).__name__}: {text}", *places[-1:]])
