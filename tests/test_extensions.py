"""Extensions by plugins beside backends: they take part in a run, and break none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from local_plugins import benchharness, install

from benchharness.measure.energy_meter import EnergyMeter, benchharness_meter
from benchharness.measure.meters import Meters
from benchharness.plugins import KINDS, extensions
from benchharness.run.events_file import benchharness_observer

SUITE = """
name = "added"
trials = 1
backends = ["numpy"]

[dataset]
source = "stripes"

[[benchmark]]
name = "feed"
strategy = "dataset"
image_size = 16
train_images = 12
test_images = 4
batch_size = 4
"""
ADDING = """
import json
import os

import click
import numpy as np

from benchharness.api import Images, Pictures, hookimpl

benchharness_api = "1.0"


class Stripes:
    description = "stripes, along and across"
    remedy = "make a folder called stripes"
    has_files = False

    def places(self, environment):
        return [__import__("pathlib").Path(environment["STRIPES"])]

    def holds(self, folder):
        return (folder / "stripes").is_file()

    def read(self, folder):
        images = np.zeros((40, 8, 8), np.uint8)
        images[::2, ::2], images[1::2, :, ::2] = 200, 200
        labels = (np.arange(40) % 2).astype(np.int32)
        half = [Images(array=images[i::2][:20], labels=labels[i::2][:20]) for i in (0, 1)]
        whole = Images(array=images, labels=labels)
        return Pictures(
            classes=("along", "across"), train=whole, test=whole, channels=1, origin=str(folder)
        )


class Counting:
    def __init__(self, device):
        self.device, self.samples = device, 0

    def sample(self, *, is_timed):
        self.samples += is_timed

    def metrics(self):
        return {"samples": self.samples, "device": self.device, "throttled": "by hand"}


@hookimpl
def benchharness_dataset():
    return Stripes()


@hookimpl
def benchharness_meter(pid, device):
    return Counting(device)


@hookimpl
def benchharness_report(run, records):
    return {"added.txt": f"{run['suite']}: {len(records)} records"}


@hookimpl
def benchharness_observer():
    def observe(event):
        with open(os.environ["OBSERVED"], "a") as file:
            file.write(json.dumps(event) + "\\n")

    return observe


@click.command("greet")
def greet():
    click.echo("good morning")


@hookimpl
def benchharness_command():
    return greet
"""
BREAKING = """
from benchharness.api import hookimpl


class Failing:
    def sample(self, *, is_timed):
        raise RuntimeError("no reading")

    def metrics(self):
        return {}


@hookimpl
def benchharness_meter(pid, device):
    return Failing()


@hookimpl
def benchharness_report(run, records):
    return {"records.jsonl": "mine now"}


@hookimpl
def benchharness_observer():
    def observe(event):
        if event["event"] == "trial_started":
            raise RuntimeError("no eyes")

    return observe
"""


def entry_points(module: str, **names: str) -> dict[str, dict[str, str]]:
    """Return entry points in the groups of the kinds, all of one module."""
    return {f"benchharness.{kind}": {name: module} for kind, name in names.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a suite, plugins that add and plugins that break."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "suite.toml").write_text(SUITE)
    (folder / "stripes").write_text("here")
    names = dict.fromkeys(("meters", "reports", "observers"), "adding")
    groups = entry_points("adding_module", datasets="stripes", commands="greet", **names)
    install(folder, "adding", ADDING, groups=groups)
    names = dict.fromkeys(names, "breaking")
    install(folder, "breaking", BREAKING, groups=entry_points("breaking_module", **names))
    names = dict.fromkeys(("meters", "reports", "observers", "commands"), "lame")
    install(folder, "lame", "import not_there", groups=entry_points("lame_module", **names))
    return folder


@pytest.fixture(scope="module")
def run(site: Path) -> tuple[Path, str]:
    """Return the folder of a run with all of them, and what was said on standard error."""
    done = benchharness(
        site,
        *("run", "suite.toml", "--device", "cpu", "--no-proof"),
        STRIPES=str(site),
        OBSERVED=str(site / "observed.jsonl"),
        BENCHHARNESS_EVENTS=str(site / "events.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    return site / "results/added/latest", done.stderr


def row(folder: Path) -> dict[str, str]:
    """Return the only row of a run's trials.csv."""
    with (folder / "trials.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    return found


def test_a_suite_names_the_dataset_of_a_plugin(run: tuple[Path, str], site: Path):
    """It is found where the plugin looks, and read like the core's own."""
    dataset = json.loads((run[0] / "run.json").read_text())["dataset"]

    assert dataset["name"] == "stripes"
    assert str(site) in dataset["origin"]


def test_a_meter_fills_columns(run: tuple[Path, str]):
    """One of ours that nobody else fills, and its own under its name."""
    found = row(run[0])

    # Both edges of the timed epoch are sampled: the first is timed, the last ends it.
    assert int(found["adding.samples"]) >= 1
    assert found["adding.device"] == "cpu"
    assert found["throttled"] == "by hand"
    assert found["breaking.error"] == "RuntimeError: no reading"


def test_a_writer_adds_files_and_replaces_no_record(run: tuple[Path, str]):
    """Ours in Markdown and the plugin's are there; the one that would replace records is told."""
    folder, said = run

    assert (folder / "added.txt").read_text() == "added: 1 records"
    assert (folder / "report.md").read_text().startswith("### ")
    assert "mine now" not in (folder / "records.jsonl").read_text()
    assert "report breaking (breaking-dist 1.0): nothing written" in said


def test_observers_are_told_what_json_tells(run: tuple[Path, str], site: Path):
    """From the start to the end, the trial's own events among them; in a file where asked for."""
    observed = [json.loads(line) for line in (site / "observed.jsonl").read_text().splitlines()]
    stored = [json.loads(line) for line in (site / "events.jsonl").read_text().splitlines()]

    kinds = [event["event"] for event in observed]
    assert kinds[0] == "run_started" and kinds[-1] == "run_finished"
    assert kinds.count("trial_started") == kinds.count("trial_finished") == 1
    assert [event["event"] for event in stored] == kinds
    assert observed[-1]["exit_code"] == 0


def test_what_is_left_out_is_said(run: tuple[Path, str]):
    """Everything that cannot be loaded, and the observer that failed."""
    said = " ".join(run[1].split())

    for kind in ("meter", "report", "observer"):
        assert f"{kind} lame (lame-dist 1.0): No module named 'not_there'" in said
    assert "observer breaking (breaking-dist 1.0): RuntimeError: no eyes" in said


def test_a_command_is_listed_and_runs(site: Path):
    """Help says who adds it and imports none, so a broken one spoils nothing."""
    helped, greeted, lame = (
        benchharness(site, *words) for words in (("--help",), ("greet",), ("lame",))
    )

    words = " ".join(helped.stdout.split())
    assert "greet added by adding-dist 1.0" in words
    assert "lame added by lame-dist 1.0" in words
    assert greeted.stdout == "good morning\n"
    assert lame.returncode == 1
    assert lame.stderr == ("error: command lame (lame-dist 1.0): No module named 'not_there'\n")


def test_everything_is_listed(site: Path):
    """By kind, with the distribution, and nothing is imported for it."""
    done = benchharness(site, "list")

    words = " ".join(done.stdout.split())
    assert "stripes adding-dist 1.0" in words
    assert "meters: adding adding-dist 1.0" in words
    assert done.returncode == 0


def test_an_unknown_source_is_told_with_all_there_are(site: Path):
    """Those of plugins stand among them, and the nearest is named."""
    (site / "odd.toml").write_text(SUITE.replace('"stripes"', '"strips"'))

    done = benchharness(site, "run", "odd.toml")

    assert done.returncode == 2
    assert '"drawn" or "stripes", found "strips" (did you mean "stripes"?)' in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_is_used_by_something_of_ours(kind: str):
    """A hook that nothing here goes through would be broken unnoticed."""
    ours = [
        entry
        for entry in extensions(kind).values()
        if entry.dist and entry.dist.name == "benchharness"
    ]

    assert ours


def test_energy_counts_between_the_edges_of_timed_work():
    """What is drawn before, between and after is another's."""
    drawn_j = iter([10.0, 12.0, 15.0, 100.0, 101.0, 103.0])
    meter = EnergyMeter(lambda: next(drawn_j))

    meter.sample(is_timed=False)
    before = meter.metrics()
    for is_timed in (True, True, False, True, False):
        meter.sample(is_timed=is_timed)

    assert before == {}
    # 12 to 15, 15 to 100, and 101 to 103.
    assert meter.metrics() == {"energy_j": 90.0, "energy_source": "rapl"}


def test_a_gpu_has_an_energy_counter_of_its_own():
    """The processor's is not added to it."""
    assert benchharness_meter(pid=1, device="cuda:0") is None


def test_meters_of_plugins_are_sampled_at_the_edges():
    """A short epoch may end before a quarter of a second has passed."""
    seen: list[bool] = []

    class Edges:
        def sample(self, *, is_timed: bool) -> None:
            seen.append(is_timed)

        def metrics(self) -> dict[str, object]:
            return {"what": object()}

    meters = Meters(pid=2**30, added={"edges": Edges()})
    for state in ("begin", "end"):
        meters.on_event({"event": "timing", "state": state})

    assert seen == [True, False]
    assert "not JSON serializable" in meters.metrics()["edges.error"]


def test_no_name_of_a_file_means_no_observer():
    """Events go to a file only where the user names one."""
    assert benchharness_observer(environment={}) is None
