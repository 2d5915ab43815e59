"""Check of an installed plugin: pytest over its contract, clause by clause, in a worker."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from benchharness.api import Backend, Execution, Setting, UnsupportedError
from benchharness.errors import RunError
from benchharness.plugins import distribution, find, load_backend
from benchharness.run.process.executor import WorkerProcess
from benchharness.run.process.exit import log_tail
from benchharness.testing.assertions import REFUSED, Clause
from benchharness.testing.contract import BackendContract
from benchharness.testing.contract_plugin import CORE, PluginContract, core_imports
from benchharness.testing.loading import framework_of, observe_loading
from benchharness.testing.tasks import learn, make_batches, make_network, make_task, small_cnn
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest, worker_command

PACKAGE_CLAUSES: tuple[type[Clause], ...] = PluginContract.__bases__
BACKEND_CLAUSES: tuple[type[Clause], ...] = BackendContract.__bases__
# The kinds of work that each strategy is made of.
STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "dataset": ("feed",),
    "simple_cnn": ("train",),
    "bottleneck": ("extract", "train"),
    "fine_tune": ("train",),
}
KINDS = ("feed", "extract", "train")
# Plugins of the user's pytest, its settings and its report are left out.
_PYTEST_OPTIONS = (
    *("-c", os.devnull, "--rootdir", str(Path(__file__).parent), "--noconftest"),
    *("--import-mode=importlib", "--assert=plain", "--capture=no"),
    *(
        word
        for name in ("terminal", "warnings", "cacheprovider", "faulthandler", "unraisableexception")
        for word in ("-p", f"no:{name}")
    ),
)
_SUBJECT = pytest.StashKey[Mapping[str, Any]]()


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
        """What is broken."""
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
        refusals: Reason of the backend against each strategy that it does not carry out.
    """

    name: str
    options: Mapping[str, Setting]
    device: Literal["cpu", "gpu"] = "cpu"
    results: list[ClauseResult] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether nothing that was checked is broken."""
        return all(result.outcome != "broken" for result in self.results)

    @property
    def strategies(self) -> list[str]:
        """Names of the strategies that the backend carries out."""
        return [name for name in STRATEGIES if name not in self.refusals]

    @property
    def distribution(self) -> str:
        """Name and version of what the plugin came with."""
        return distribution(find(self.name))

    def run(self) -> Iterator[ClauseResult]:
        """Yield the outcome of each clause as it becomes known.

        Raises:
            PluginError: No plugin of that name is installed, or loading it ends the process.
        """
        find(self.name)
        for result in self._clauses():
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

    def _clauses(self) -> Iterator[ClauseResult]:
        loading = observe_loading(self.name, options=self.options)
        clauses = list(PACKAGE_CLAUSES if loading.error else PACKAGE_CLAUSES + BACKEND_CLAUSES)
        running, failure = "", ""
        request = WorkerRequest(
            job="check", plugin=self.name, options=self.options, device=self.device
        )
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder, "request.json"), Path(folder, "log")
            request.write(file)
            worker = WorkerProcess(worker_command(file), environment=os.environ, log=log)
            try:
                while not isinstance(event := worker.next_event(), str):
                    match event["event"]:
                        case "check":
                            running = event["check"]
                        case "kinds":
                            self.refusals = _refusals(event["kinds"])
                        case "clause":
                            checks = tuple(CheckResult(**check) for check in event["checks"])
                            yield _result(clauses.pop(0), checks, remark=event["remark"])
                        case "finished" if event["status"] != "ok":
                            failure = event["reason"]
            finally:
                worker.end(is_patient=not clauses)
            if clauses:
                reason = failure or _death(worker.process.returncode, running, log)
                broken = CheckResult(check=running, outcome="broken", reason=reason)
                yield _result(clauses[0], (broken,))
        # Without a backend there is nothing more to check, and that is said above.
        if not loading.error:
            yield self._ability()

    def _ability(self) -> ClauseResult:
        reasons = "; ".join(dict.fromkeys(self.refusals.values()))
        check = CheckResult(
            check="strategies",
            outcome="kept" if self.strategies else "broken",
            reason="" if self.strategies else f"strategies: expected one, found none: {reasons}",
        )
        return ClauseResult(
            name="strategies",
            title="carries out at least one strategy",
            checks=(check,),
            remark=", ".join(self.strategies),
        )


def title(clause: type[Clause]) -> str:
    """Return what a clause demands, for people."""
    text = (clause.__doc__ or clause.clause).partition("\n")[0].removesuffix(".")
    return text[0].lower() + text[1:]


def _result(
    clause: type[Clause], checks: tuple[CheckResult, ...], *, remark: str = ""
) -> ClauseResult:
    return ClauseResult(name=clause.clause, title=title(clause), checks=checks, remark=remark)


def _refusals(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return the reason against each strategy that lacks some kind of work."""
    reasons = {
        strategy: next((kinds[kind] for kind in needed if kinds.get(kind)), "")
        for strategy, needed in STRATEGIES.items()
    }
    return {strategy: reason for strategy, reason in reasons.items() if reason}


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

    def on_check(check: str) -> None:
        channel.emit({"event": "check", "check": check})

    def on_clause(clause: str, checks: Sequence[CheckResult]) -> None:
        remark = _remark(clause, request)
        results = [asdict(check) for check in checks]
        channel.emit({"event": "clause", "checks": results, "remark": remark})

    name, options = request.plugin, request.options
    package = {"plugin": name, "options": options}
    ContractSession(subject=package, on_clause=on_clause, on_check=on_check).run(TestPackage)
    if observe_loading(name, options=options).error:
        return
    backend = load_backend(name, options=options)
    execution = Execution(device=request.device, threads=1)
    channel.emit({"event": "kinds", "kinds": offered(backend, execution, is_tried=False)})
    subject = {"backend": backend, "execution": execution}
    ContractSession(subject=subject, on_clause=on_clause, on_check=on_check).run(TestBackend)
    # Last, so that a crash is one of its clause.
    channel.emit({"event": "kinds", "kinds": offered(backend, execution, is_tried=True)})


def _remark(clause: str, request: WorkerRequest) -> str:
    """Return what else is worth knowing of a clause of the package; empty for nothing."""
    entry = find(request.plugin)
    if clause == "imports" and entry.module.partition(".")[0] != CORE:
        files = sorted({used.file for used in core_imports(entry) if used.is_reference})
        return f"the reference still works in {', '.join(files)}" if files else ""
    if clause in ("import_cost", "missing_framework"):
        loading = observe_loading(request.plugin, options=request.options)
        if clause == "missing_framework":
            return framework_of(request.plugin, loading.needs)
        return f"{loading.import_ms:.0f} ms"
    return ""


def offered(backend: Backend, execution: Execution, *, is_tried: bool) -> Mapping[str, str]:
    """Return each kind of work with what is against it; empty for nothing.

    Args:
        is_tried: Whether a little of the work is done, or only begun.
    """
    batches = make_batches() if is_tried else []
    reasons = dict.fromkeys(KINDS, "")
    for kind in KINDS:
        network = make_network() if kind == "feed" else small_cnn()
        task = make_task(network, execution=execution)
        try:
            if kind == "feed":
                backend.feed(task).feed(batches, after_step=lambda: None)
            elif kind == "extract":
                list(backend.extract(task).extract(batches))
            else:
                learn(backend.train(task), *([batches] * is_tried))
        except UnsupportedError as refusal:
            reasons[kind] = str(refusal)
        except Exception as error:
            reasons[kind] = _error_text(error, package=_package(backend))
    return reasons


class TestBackend(BackendContract):
    """The contract of the backend that is checked."""

    @pytest.fixture
    def backend(self, pytestconfig: pytest.Config) -> Backend:
        """Return the backend."""
        backend: Backend = pytestconfig.stash[_SUBJECT]["backend"]
        return backend

    @pytest.fixture
    def execution(self, pytestconfig: pytest.Config) -> Execution:
        """Return how to compute."""
        execution: Execution = pytestconfig.stash[_SUBJECT]["execution"]
        return execution


class TestPackage(PluginContract):
    """The contract of the package that is checked."""

    @pytest.fixture
    def plugin(self, pytestconfig: pytest.Config) -> str:
        """Return the name of the plugin."""
        return str(pytestconfig.stash[_SUBJECT]["plugin"])

    @pytest.fixture
    def options(self, pytestconfig: pytest.Config) -> Mapping[str, Setting]:
        """Return its options."""
        options: Mapping[str, Setting] = pytestconfig.stash[_SUBJECT]["options"]
        return options


@dataclass(slots=True, kw_only=True)
class ContractSession:
    """Session of pytest over a contract, as a plugin of pytest that reports clause by clause.

    Attributes:
        subject: What is checked, by the name of the fixture.
        on_check: Is given the name of each check before it is carried out.
        on_clause: Is given the name of each clause and the outcome of its checks.
        clauses: Names of the only clauses to check; empty for all.
    """

    subject: Mapping[str, Any]
    on_clause: Callable[[str, Sequence[CheckResult]], None]
    on_check: Callable[[str], None] = lambda check: None
    clauses: Collection[str] = ()
    _checks: list[CheckResult] = field(default_factory=list)

    def run(self, contract: type[TestBackend] | type[TestPackage]) -> None:
        """Carry out the checks.

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
        self.on_check(item.name)
        is_done = yield
        if nextitem is None or _clause(nextitem) != _clause(item):
            self.on_clause(_clause(item), self._checks)
            self._checks = []
        return is_done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the outcome of a check."""
        if call.excinfo is not None:
            package = _package(self.subject["backend"]) if "backend" in self.subject else ""
            outcome, reason = _failure(call.excinfo.value, package=package)
            self._checks.append(CheckResult(check=item.name, outcome=outcome, reason=reason))
        elif call.when == "call":
            self._checks.append(CheckResult(check=item.name, outcome="kept"))
        return (yield)


def _clause(item: pytest.Function) -> str:
    """Return the name of the clause that a check belongs to."""
    assert item.cls is not None
    (clause,) = (
        base for base in item.cls.__bases__[0].__bases__ if item.originalname in vars(base)
    )
    return str(clause.clause)


def _failure(error: BaseException, *, package: str) -> tuple[Literal["broken", "refused"], str]:
    if isinstance(error, pytest.skip.Exception):
        return "refused", str(error).removeprefix(REFUSED)
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return "broken", str(error).strip() or "an assertion failed"
    return "broken", _error_text(error, package=package)


def _error_text(error: BaseException, *, package: str) -> str:
    """Return an exception with the last line of the plugin's own that it came through."""
    text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == package
    ]
    return f"{text} ({places[-1]})" if places else text


def _package(backend: object) -> str:
    """Return the package that a backend's class is in."""
    return type(backend).__module__.partition(".")[0]
