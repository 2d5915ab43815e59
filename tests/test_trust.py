"""Limits of suites, data, archives, weights and plugins: what they cannot do to their user."""

from __future__ import annotations

import ast
import csv
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from photographs import save_classes
from report_runs import RUN
from results_records import record
from suite_files import CNN, DATASET, HEAD, problems_of

from benchharness import plugins
from benchharness.cli import cli
from benchharness.errors import DatasetError, PluginError, WeightsError
from benchharness.exit_codes import explanation, is_disk_error
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Network
from benchharness.progress.plain import PlainReporter
from benchharness.report.markdown import markdown
from benchharness.report.table import plain_text
from benchharness.results.tables import csv_text, write_csv_files
from benchharness.run.events import Announced
from benchharness.text import escape_control_chars
from benchharness.weights.reading import read

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
OURS = [
    *(ROOT / "benchharness").rglob("*.py"),
    *(ROOT / "plugins").glob("*/benchharness_*/*.py"),
    *(ROOT / "tools").glob("*.py"),
]
# Modules and functions that run what they read.
RUNS_CODE = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads",
    "shelve.open", "dill.load", "joblib.load", "cloudpickle.load", "eval", "exec", "compile",
    "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "pandas.read_pickle",
    "keras.models.load_model", "keras.saving.load_model", "torch.hub.load", "torch.jit.load",
}  # fmt: skip


def calls(source: str) -> list[tuple[str, dict[str, ast.expr]]]:
    """Return the dotted name and the keywords of every call in a module."""
    return [
        (ast.unparse(node.func), {word.arg: word.value for word in node.keywords if word.arg})
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
    ]


def test_nothing_of_ours_runs_what_it_reads():
    """No unpickling, no eval, no shell; where a library could unpickle, it is told not to."""
    for path in OURS:
        for name, words in calls(path.read_text(encoding="utf-8")):
            assert name not in RUNS_CODE, path
            assert "shell" not in words, path
            if name in ("np.load", "numpy.load"):
                assert ast.unparse(words["allow_pickle"]) == "False", path
            if name == "torch.load":
                assert ast.unparse(words["weights_only"]) == "True", path


def test_that_test_would_notice():
    """The search finds what it looks for, however it is dressed."""
    found = dict(calls("import pickle\nx = [pickle.load(f) for f in y]\nnp.load(z, a=1)"))

    assert "pickle.load" in found
    assert "allow_pickle" not in found["np.load"]


HOSTILE = (
    "[bold red]x[/] \x1b[2J\x1b]0;gone\x07 \u202e<img src=x onerror=alert(1)> =cmd|' /C calc'!A0"
)


@given(text=st.text(max_size=40))
def test_no_text_acts_on_a_terminal(text: str):
    """Whatever a name holds, only printable characters come out, as many as went in."""
    shown = escape_control_chars(text)

    assert shown.isprintable()
    assert len(shown) == len(text)


@given(text=st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), max_size=40))
def test_ordinary_names_are_shown_as_they_are(text: str):
    """Letters of any script, accents, emoji: none of them is suspicious."""
    assert escape_control_chars(text) == text


class Screen:
    """Stands for a terminal, and remembers what it was sent."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Remember."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


def test_announcements_do_not_act_on_the_terminal():
    """Names of files and classes come to the user in them."""
    screen = Screen()

    PlainReporter(screen)(
        Announced(level="warning", text=f"left out 1 unreadable images: {HOSTILE}")
    )

    assert "\x1b" not in screen.text
    assert "[bold red]x[/]" in screen.text
    assert screen.text.count("\n") == 1


def test_errors_do_not_act_on_the_terminal(tmp_path: Path):
    """A picture's name clears no screen and begins no line of its own."""
    root = save_classes(tmp_path / "data", train=2, test=2)
    (root / "train" / "cats" / "a\x1b[2J\u202eb\rc.jpg").write_bytes(b"no picture")
    suite = tmp_path / "pets.toml"
    suite.write_text(f'name = "pets"\nbackends = ["numpy"]\n[dataset]\nsource = "folder"\n'
                     f'path = "data"\n{CNN}validation = 0\n')  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-m", "benchharness", "data", "prepare", str(suite)],
        env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
    )

    said = done.stderr.decode()
    assert done.returncode == 1
    assert "a\N{REPLACEMENT CHARACTER}[2J" in said
    assert all(line.isprintable() for line in said.split("\n"))


def test_several_lines_of_an_error_are_lines_of_ours():
    """A reason with line ends in it cannot pass for another message."""
    assert explanation(DatasetError("one\ntwo")) == ["one", "two"]


@pytest.mark.parametrize(
    ("number", "is_said"), [(errno.ENOSPC, True), (errno.EROFS, True), (errno.ENOENT, False)]
)
def test_a_disk_is_no_bug_of_ours(number: int, is_said: bool):
    """Whatever writes to a full one: a sentence. Other errors of the system keep their trace."""
    error = OSError(number, os.strerror(number), "runs/log")

    (line,) = explanation(error)

    assert is_disk_error(error) is is_said
    assert line.startswith("cannot write runs/log: ") is is_said


def test_hostile_names_are_text_in_every_report(tmp_path: Path):
    """A class, a reason and a title: never markup, never a formula."""
    run = {**RUN, "title": HOSTILE, "dataset": {"name": HOSTILE, "origin": HOSTILE,
           "classes": [HOSTILE, "b"], "is_real": True}}  # fmt: skip
    records = [
        record(status="failed", reason=HOSTILE, metrics={}, epochs=0),
        record(backend="torch"),
    ]

    write_csv_files(tmp_path, records)
    marked, table = markdown(run, records), plain_text(run, records)

    assert "<img" not in marked.replace("\\<img", "")
    assert "[bold red]x[/]" in table
    assert all(line.isprintable() for line in table.splitlines())
    with (tmp_path / "trials.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert not any(cell.startswith(("=", "+", "@")) for cell in row.values())


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\uff201"]
)
def test_no_cell_is_a_formula(text: str):
    """Spreadsheets show it, and the text behind the apostrophe is what was recorded."""
    table = csv_text([{"trial": 1, "reason": text}])

    _, (_, cell) = csv.reader(io.StringIO(table, newline=""))
    assert cell == f"'{text}".replace("\r", "\n")


@pytest.mark.parametrize(
    "name", ["../up", "/tmp/x", "a/b", ".hidden", "a b", "[bold]", "<b>", "=1", ""]
)
@pytest.mark.parametrize("table", ["suite", "benchmark"])
def test_names_that_become_files_and_headings_are_plain(tmp_path: Path, table: str, name: str):
    """No suite leaves the results folder, and none names a column as a formula."""
    text = HEAD + DATASET + CNN
    old = 'name = "pets"' if table == "suite" else 'name = "cnn"'
    problems = problems_of(tmp_path, text.replace(old, f"name = {name!r}"))

    assert any("name: expected" in line for line in problems)


def test_a_carriage_return_begins_no_row():
    """What a progress bar leaves in a reason is one cell, and its next word no formula."""
    table = csv_text([{"reason": "50 %\r=1+1\r\nend", "log": "x"}])

    assert list(csv.reader(io.StringIO(table, newline=""))) == [
        ["reason", "log"],
        ["50 %\n=1+1\nend", "x"],
    ]


SMALL = Network(input_shape=(32, 32, 3), layers=BACKBONES["vgg_mini"].layers)


@pytest.mark.parametrize("way", ["external link", "external bytes", "virtual"])
def test_weights_cannot_lead_into_another_file(tmp_path: Path, way: str):
    """HDF5 may point anywhere on the machine; such a file is refused, not followed."""
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros((3, 3, 3, 4), np.float32)
    layer = SMALL.learning_layers()[0]
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group(layer)
        group.attrs["weight_names"] = ["kernel"]
        if way == "external link":
            group["kernel"] = h5py.ExternalLink(str(secret), "x")
        elif way == "external bytes":
            group.create_dataset("kernel", (8,), "f4", external=[(str(secret), 0, 32)])
        else:
            layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
            layout[...] = h5py.VirtualSource(str(secret), "x", (3, 3, 3, 4))
            group.create_virtual_dataset("kernel", layout)

    with pytest.raises(WeightsError, match="found a way into another file"):
        read(path, SMALL)


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch):
    """Forget afterwards which plugins were disabled."""
    monkeypatch.setenv(plugins.DISABLED_VAR, "")
    plugins.installed.cache_clear()
    yield
    monkeypatch.undo()
    plugins.installed.cache_clear()


def test_a_disabled_plugin_is_not_there(enabled):
    """Not listed, not loaded; and the reason is not that it is missing."""
    plugins.disable(["numpy"])

    assert "numpy" not in plugins.installed()
    with pytest.raises(PluginError, match="disabled by --no-plugin"):
        plugins.load_backend("numpy", options={})


def test_a_disabled_plugin_is_not_imported_by_any_process(tmp_path: Path):
    """Its code would leave a mark; workers inherit that it is disabled."""
    metadata = tmp_path / "site" / "spy_dist-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spy-dist\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[benchharness]\nspy = spy_module\n")
    (tmp_path / "site" / "spy_module.py").write_text(
        "import pathlib, os\npathlib.Path(os.environ['MARK']).touch()\n"
        "from benchharness.testing.plugin import *\n"
    )
    save_classes(tmp_path / "data", train=2, test=2)
    (tmp_path / "pets.toml").write_text(
        'name = "pets"\ntrials = 1\nbackends = ["numpy", "spy"]\n'
        '[dataset]\nsource = "folder"\npath = "data"\n'
        '[defaults]\nimage_size = 16\n[[benchmark]]\nname = "feed"\nstrategy = "dataset"\n'
    )
    mark = tmp_path / "mark"

    def called(*options: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "MARK": str(mark), "BENCHHARNESS_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": f"{tmp_path / 'site'}",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "benchharness", "run", "pets.toml", "--no-proof", *options],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=600,
        )

    disabled = called("--no-plugin", "spy")
    was_imported = mark.exists()
    free = called()

    assert not was_imported
    assert disabled.returncode == 1
    assert "disabled by --no-plugin" in " ".join(disabled.stdout.split())
    assert mark.exists()
    assert free.returncode == 0, free.stderr


def test_the_option_names_plugins_there_are(enabled):
    """A misspelt name would leave in what was to be left out."""
    done = CliRunner().invoke(cli, ["list", "--no-plugin", "nunpy"])

    assert done.exit_code == 2
    assert "expected an installed plugin" in done.output
    assert 'found nunpy; did you mean "numpy"?' in done.output


def test_every_command_that_may_load_a_plugin_has_the_option():
    """None of them is forgotten when commands are added."""
    # Those of `plugin` are about one that the user names, the others load none.
    without = {"history", "schema", "env", "plugin"}
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}

    lacking = {
        f"{name} {one.name}"
        for name, command in commands.items()
        if name not in without
        for one in (command.commands.values() if isinstance(command, click.Group) else [command])
        if not any("--no-plugin" in option.opts for option in one.params)
    }

    assert lacking == set()


def test_looking_around_is_safe_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Listing reads the files there: a pipe, a circle, deep nesting and a title that would act."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    (tmp_path / "bytes.toml").write_bytes(bytes(range(256)))
    (tmp_path / "odd.toml").write_text(
        'name = "odd"\ntitle = "\\u001b[2J[bold]gone"\nbenchmark = 1\n'
    )
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli, ["list"])

    assert done.exit_code == 0, done.output
    assert "\N{REPLACEMENT CHARACTER}[2J[bold]gone" in done.output
    assert "pipe.toml" not in done.output


def test_plugins_are_shown_with_the_distribution_they_came_from():
    """Who is asked about a plugin is who published that."""
    done = CliRunner().invoke(cli, ["list"])

    (line,) = [line for line in done.output.splitlines() if line.split()[:1] == ["numpy"]]
    assert line.split()[1:] == plugins.distribution(plugins.installed()["numpy"]).split()
