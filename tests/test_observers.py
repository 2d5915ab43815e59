"""Runs logged to MLflow, TensorBoard and Weights & Biases, read back with each package."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import progress_events as happened
import pytest
import pytest_sessions
from in_process import run_commands
from local_plugins import benchharness, install

from benchharness import observers
from benchharness.observers.figures import RunEnd, RunLog, RunStart, TrialLog
from benchharness.observers.mlflow import MlflowTracker
from benchharness.progress.json_reporter import EventSerializer

pytestmark = pytest.mark.slow

SUITE = """
name = "{name}"
trials = {trials}
backends = [{backends}]

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 12
test_images = 4
batch_size = 4
filters = [2]
dense = 4
epochs = 3

[[benchmark]]
name = "small"
strategy = "simple_cnn"
"""
# As Ctrl-C in the third epoch of the second trial, the first time.
INTERRUPTING = """
from pathlib import Path

from benchharness.api import hookimpl


@hookimpl
def benchharness_observer():
    def interrupt(event):
        once = Path("interrupt")
        if event["event"] == "epoch" and (event["trial"], event["epoch"]) == (2, 3):
            if once.exists():
                once.unlink()
                raise KeyboardInterrupt

    return interrupt
"""
TRACKERS = ("mlflow", "tensorboard", "wandb")
EVERY = [word for name in TRACKERS for word in ("--log-to", name)]


def suite_file(name: str, *, trials: int = 1, backends: str = '"numpy"') -> str:
    """Return a suite of a benchmark."""
    return SUITE.format(name=name, trials=trials, backends=backends)


@dataclass(frozen=True)
class Logged:
    """A run or a trial, as a package has it.

    Attributes:
        epochs: Training loss by epoch.
        texts: Notes; of a run its answers, too.
        files: Names.
    """

    state: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    epochs: Mapping[int, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: frozenset[str] = frozenset()


def in_mlflow(folder: Path, suite: str) -> dict[str, Logged]:
    """Return the runs of a suite by name; those of trials are within the other."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name(suite).experiment_id])
    (whole,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    logged = {}
    for run in runs:
        parent = run.data.tags.get("mlflow.parentRunId")
        assert parent in (None, whole.info.run_id)
        history = client.get_metric_history(run.info.run_id, "epoch/train_loss")
        artifacts = Path(folder, "mlruns").glob(f"*/{run.info.run_id}/artifacts/*")
        logged[run.info.run_name if parent else "run"] = Logged(
            state=run.info.status,
            parameters=run.data.params,
            epochs={metric.step: metric.value for metric in history},
            figures=run.data.metrics,
            texts={**run.data.tags, "answers": run.data.tags.get("mlflow.note.content", "")},
            files=frozenset(path.name for path in artifacts),
        )
    return logged


def in_wandb(folder: Path, suite: str) -> dict[str, Logged]:
    """Return the runs of a suite by name, from the files of the package's offline mode."""
    logged, groups = {}, set()
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        records = [*wandb_records(path)]
        (run,) = (record.run for record in records if record.HasField("run"))
        if run.project != suite:
            continue
        groups.add(run.run_group)
        summary: dict[str, Any] = {}
        rows = []
        for record in records:
            summary |= values(record.summary.update)
            if record.HasField("history"):
                rows.append(values(record.history.item))
        (code,) = (record.exit.exit_code for record in records if record.HasField("exit"))
        artifacts = [record.artifact for record in records if record.HasField("artifact")]
        logged["run" if run.job_type == "summary" else run.display_name] = Logged(
            state={0: "FINISHED", 1: "FAILED", 255: "KILLED"}[code],
            parameters=values(run.config.update),
            epochs={row["_step"]: row["epoch/train_loss"] for row in rows},
            figures=summary,
            texts=summary,
            files=frozenset(part.path for a in artifacts for part in a.manifest.contents),
        )
    assert len(groups) == 1
    return logged


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of an offline run: 7 bytes, then LevelDB's blocks of 32 KB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = path.read_bytes(), 7, b""
    while place < len(content):
        if (left := -place % 32768) and left < 7:
            place += left
        _, length, kind = struct.unpack_from("<IHB", content, place)
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        # Whole, or the last part.
        if kind in (1, 4):
            yield Record.FromString(message)
            message = b""


def values(items: Any) -> dict[str, Any]:
    """Return what JSON items hold; a name is a key or the only nested one."""
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def in_tensorboard(folder: Path, suite: str) -> dict[str, Logged]:
    """Return what TensorBoard shows of a suite's latest run."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status

    run = folder / "results" / suite / "latest"
    shown = EventMultiplexer().AddRunsFromDirectory(str(run / "tensorboard"))
    shown.Reload()
    logged = {}
    for name, tags in shown.Runs().items():
        texts, sessions = {}, {}
        for tag in tags["tensors"]:
            data = shown.SummaryMetadata(name, tag).plugin_data
            (event,) = shown.Tensors(name, tag)
            if data.plugin_name == "text":
                texts[tag] = event.tensor_proto.string_val[0].decode()
            else:
                sessions[tag] = data.content
        state, parameters = "", {}
        if sessions:
            start = sessions[metadata.SESSION_START_INFO_TAG]
            end = sessions[metadata.SESSION_END_INFO_TAG]
            hparams = metadata.parse_session_start_info_plugin_data(start).hparams
            parameters = {key: getattr(v, v.WhichOneof("kind")) for key, v in hparams.items()}
            state = Status.Name(metadata.parse_session_end_info_plugin_data(end).status)
        scalars = {tag: shown.Scalars(name, tag) for tag in tags["scalars"]}
        losses = scalars.pop("epoch/train_loss", ())
        logged["run" if name == "summary" else name.replace("_", " ")] = Logged(
            state=state,
            parameters=parameters,
            epochs={event.step: event.value for event in losses},
            figures={tag: events[-1].value for tag, events in scalars.items()},
            texts=texts,
        )
    return logged


READERS = {"mlflow": in_mlflow, "tensorboard": in_tensorboard, "wandb": in_wandb}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a whole run, and one that was interrupted, logged everywhere."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "whole.toml").write_text(suite_file("whole", backends='"numpy", "absent"'))
    (folder / "long.toml").write_text(suite_file("long", trials=2))
    (folder / "interrupt").touch()
    groups = {"benchharness.observers": {"interrupting": "interrupting_module"}}
    install(folder, "interrupting", INTERRUPTING, groups=groups)
    places = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
    environment = {
        **os.environ,
        **dict.fromkeys(places, str(folder)),
        "PYTHONPATH": str(folder),
        "BENCHHARNESS_CACHE": str(folder / "cache"),
        "WANDB_MODE": "offline",
    }
    commands = [["run", f"{name}.toml", "--device", "cpu", *EVERY] for name in ("whole", "long")]
    done = run_commands(commands, folder=folder, environment=environment)
    assert [run.returncode for run in done] == [1, 130], [run.stderr for run in done]
    return folder


@pytest.fixture
def logged(request: pytest.FixtureRequest, desk: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what a package has of both suites."""
    # TensorBoard's word for: read with the package alone, even where TensorFlow is installed.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    return {suite: READERS[request.param](desk, suite) for suite in ("whole", "long")}


def recorded(desk: Path, suite: str) -> list[dict[str, Any]]:
    """Return the records of a suite's run."""
    lines = (desk / "results" / suite / "latest/records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("logged", TRACKERS, indirect=True)
def test_a_trial_is_logged_as_it_is_recorded(logged, desk: Path):
    """Parameters, each epoch at its step, and every figure under the name of its column."""
    record, _ = recorded(desk, "whole")
    trial = logged["whole"]["small numpy 1"]

    expected = {
        "benchmark": "small",
        "backend": "numpy",
        "seed": record["seed"],
        "machine": record["machine"],
        "settings.batch_size": 4,
        "settings.optimizer.name": "adam",
        "effective.optimizer.name": "adam",
        "versions.numpy": record["versions"]["numpy"],
    }
    assert {name: str(trial.parameters[name]) for name in expected} == {
        # Numbers of TensorBoard's parameters are floating point.
        name: str(type(trial.parameters[name])(value))
        for name, value in expected.items()
    }
    losses = {epoch["epoch"]: epoch["train_loss"] for epoch in record["epochs"]}
    assert trial.epochs == pytest.approx(losses, rel=1e-6)
    figures = {k: v for k, v in record["metrics"].items() if type(v) in (int, float)}
    assert len(figures) > 30
    # TensorBoard has single precision.
    assert {name: trial.figures[name] for name in figures} == pytest.approx(figures, rel=1e-6)
    assert trial.texts["status"] == "ok"
    assert trial.texts["proof"] == record["proof"] != ""
    assert trial.state in ("FINISHED", "STATUS_SUCCESS")


@pytest.mark.parametrize("logged", TRACKERS, indirect=True)
def test_a_failed_trial_is_marked_and_says_why(logged, desk: Path):
    """It is there, with the reason of its record."""
    _, record = recorded(desk, "whole")
    trial = logged["whole"]["small absent 1"]

    assert trial.state in ("FAILED", "STATUS_FAILURE")
    assert trial.texts["status"] == record["status"] == "failed"
    assert trial.texts["reason"] == record["reason"] != ""


@pytest.mark.parametrize("logged", TRACKERS, indirect=True)
def test_a_run_has_the_medians_of_its_cells(logged, desk: Path):
    """Of each quantity that can be compared; a cell without a trial that is ok has none."""
    record, _ = recorded(desk, "whole")
    run = logged["whole"]["run"]

    assert run.figures["small numpy/test_top1"] == record["metrics"]["test_top1"]
    assert not [name for name in run.figures if "absent" in name]
    assert str(run.texts["exit_code"]) == "1"
    # All trials were carried out; that one failed is said of the trial.
    assert run.state in ("FINISHED", "")


@pytest.mark.parametrize("logged", ["mlflow", "wandb"], indirect=True)
def test_the_files_of_a_run_are_its_artifacts(logged, desk: Path):
    """All that the run's folder shows, also when it was interrupted; neither logs nor weights."""
    for name in ("whole", "long"):
        shown = (desk / "results" / name / "latest").glob("[!.]*.*")

        assert logged[name]["run"].files == {path.name for path in shown}
        assert logged[name]["run"].files >= {"records.jsonl", "certificate.json", "trials.csv"}


@pytest.mark.parametrize("logged", TRACKERS, indirect=True)
def test_an_interrupted_run_is_killed_and_so_is_its_trial(logged):
    """Finished trials are kept, and of the trial in flight the epochs so far."""
    runs = logged["long"]

    assert runs["small numpy 1"].texts["status"] == "ok"
    assert runs["small numpy 2"].state in ("KILLED", "STATUS_FAILURE")
    assert runs["small numpy 2"].texts["status"] == "killed"
    assert [*runs["small numpy 2"].epochs] == [1, 2]
    assert runs["run"].state in ("KILLED", "")
    assert "interrupted" in runs["run"].texts["answers"]


def test_a_resumed_run_continues_its_run_in_mlflow(desk: Path):
    """There is one, which has finished; the variable asks for it as the option does."""
    done = benchharness(
        desk, *("run", "long.toml", "--resume", "--device", "cpu"), BENCHHARNESS_LOG_TO="mlflow"
    )

    assert done.returncode == 0, done.stderr
    runs = in_mlflow(desk, "long")
    assert runs["run"].state == "FINISHED"
    assert runs["run"].texts["exit_code"] == "0"


def test_a_trial_whose_writing_is_interrupted_is_in_mlflow_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The end of the run writes it again, and nothing is left of the first time."""
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker()
    tracker.start(
        RunStart(name="run", suite="cut", folder=tmp_path, parameters={}, time_s=time.time())
    )
    figures = {"wall_s": 2.5}
    trial = TrialLog(
        name="a 1", parameters={"seed": 1}, started_s=1.0, figures=figures, state="finished"
    )
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "_log_figures", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tracker.log_trial(trial)
    tracker.log_trial(trial)
    tracker.finish(
        RunEnd(state="killed", exit_code=130, figures={}, text="", files=[], time_s=time.time())
    )

    runs = in_mlflow(tmp_path, "cut")
    assert {name: run.state for name, run in runs.items()} == {"a 1": "FINISHED", "run": "KILLED"}
    assert runs["a 1"].figures == figures


def interrupt(*arguments: Any, **named: Any) -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def test_a_suite_in_pytest_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no option can be given, the variable asks for it; other observers are called, too."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    pytest_sessions.install(tmp_path, pytest_sessions.HEAD + pytest_sessions.CNN)
    done = pytest_sessions.run(
        tmp_path,
        *("pace.toml", "--benchmark-only"),
        BENCHHARNESS_LOG_TO="tensorboard",
        BENCHHARNESS_EVENTS=str(tmp_path / "events.jsonl"),
    )

    assert done.code == 0, done.text
    (record,) = recorded(tmp_path, "pace")
    logged = in_tensorboard(tmp_path, "pace")
    test_top1 = record["metrics"]["test_top1"]
    assert logged["small cnn paced 1"].figures["test_top1"] == pytest.approx(test_top1)
    assert logged["run"].texts["exit_code"] == "0"
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert (last["event"], last["exit_code"], last["errors"]) == ("run_finished", 0, [])


def test_a_tracker_that_fails_ends_nothing(tmp_path: Path):
    """Its error is a warning that names it; the run goes on, and the others log it."""
    (tmp_path / "one.toml").write_text(suite_file("one"))
    done = benchharness(
        tmp_path,
        *("run", "one.toml", "--no-proof", "--device", "cpu", *EVERY),
        MLFLOW_TRACKING_URI="nowhere://here",
        WANDB_MODE="online",
        WANDB_API_KEY="",
        HOME=str(tmp_path),
        NETRC=str(tmp_path / "netrc"),
    )

    said = " ".join(done.stderr.split())
    assert done.returncode == 0, done.stderr
    assert "disabled after an error: observer mlflow (benchharness" in said
    assert "nowhere://here" in said
    assert "observer wandb (benchharness" in said
    assert "expected a W&B API key, found none; use `wandb login`" in said
    assert [*tmp_path.glob("results/one/latest/tensorboard/small_numpy_1/*tfevents*")]


@pytest.mark.parametrize(
    ("arguments", "variable", "told"),
    [
        (
            ["--log-to", "wandb"],
            "",
            "error: command line: --log-to: expected the package wandb to be installed, found "
            'none (pip install "benchharness[wandb]")',
        ),
        (
            [],
            "tensorboard, mlflow",
            "error: environment: BENCHHARNESS_LOG_TO: expected the package mlflow to be "
            'installed, found none (pip install "benchharness[mlflow]")',
        ),
        (
            ["--log-to", "tensorbord"],
            "",
            'error: command line: --log-to: expected "mlflow", "tensorboard" or "wandb", found '
            '"tensorbord" (did you mean "tensorboard"?)',
        ),
        (
            ["--log-to", "tensorboard", "--no-plugin", "tensorboard"],
            "",
            "error: command line: --log-to: expected the plugin tensorboard, found it disabled by "
            "--no-plugin or BENCHHARNESS_NO_PLUGIN",
        ),
    ],
)
def test_a_tracker_that_cannot_be_used_is_refused_before_anything_runs(
    tmp_path: Path, arguments: list[str], variable: str, told: str
):
    """Exit 2, with the command that installs it or the nearest spelling."""
    (tmp_path / "one.toml").write_text(suite_file("one"))
    hidden = "import sys; sys.modules['mlflow'] = sys.modules['wandb'] = None"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    done = benchharness(tmp_path, "run", "one.toml", *arguments, BENCHHARNESS_LOG_TO=variable)

    assert (done.returncode, done.stderr.strip()) == (2, told)
    assert not (tmp_path / "results").exists()


def test_a_folder_is_no_package(monkeypatch: pytest.MonkeyPatch):
    """The folder ``wandb`` that the package makes where it is used does not stand for it."""
    monkeypatch.setattr(observers, "find_spec", lambda name: ModuleSpec(name, loader=None))
    (problem,) = observers.problems(["wandb"], where="--log-to")

    assert problem.hint == 'pip install "benchharness[wandb]"'


class Listening:
    """A tracker that remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, run: RunStart) -> None:
        self.calls.append("start")

    def log_trial(self, trial: TrialLog) -> None:
        self.calls.append(f"{trial.name}: {trial.notes['status']}")

    def finish(self, end: RunEnd) -> None:
        self.calls.append(f"finish: {end.text}")


def test_nothing_is_written_while_a_trial_computes_or_cannot_be_interrupted():
    """A trial that has ended is written when the next begins, the last at the end."""
    tracker = Listening()
    log = RunLog(tracker)
    serializer = EventSerializer(log, now=float)
    calls = {}
    for event in (*happened.WHOLE_RUN[:-1], happened.TRIAL_STARTED, happened.FINISHED):
        before = len(tracker.calls)
        log(serializer.serialize(event) or {"event": "none"})
        if new := tracker.calls[before:]:
            calls[event.kind] = calls.get(event.kind, []) + new

    assert set(calls) == {"run_started", "trial_started", "run_finished"}
    assert calls["run_started"] == ["start"]
    assert calls["trial_started"] == ["bottleneck_published batch_size=32 keras 1: ok"]
    assert calls["run_finished"][-1] == "finish: torch is faster"


def test_a_run_without_records_is_not_logged():
    """As of ``certify``, which has no folder and no trials."""
    tracker = Listening()
    log = RunLog(tracker)
    for event in (
        {"event": "run_started", "folder": None, "time": "2026-01-01T00:00:00+00:00"},
        {"event": "run_finished", "time": "2026-01-01T00:00:01+00:00"},
    ):
        log(event)

    assert tracker.calls == []
