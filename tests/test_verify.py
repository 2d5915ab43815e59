"""Figures that follow from the samples, and doctored ones, which are named with their place."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT
from recorded_runs import SUITE, invoke, record_runs
from suite_files import NUMPY_TWINS

from benchharness.results import journal
from benchharness.results.merge import merge
from benchharness.results.record import Record
from benchharness.results.run_folder import RunFolder
from benchharness.verify.findings import Findings, is_same
from benchharness.verify.run import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pages")]

# What a run may have: looks, a trial that diverges, a matrix, heads and stored features, a track.
RICH = (
    """
name = "tiny"
trials = "auto"
max_trials = 3
"""
    + NUMPY_TWINS
    + """
[defaults]
image_size = 32
train_images = 10
test_images = 4
batch_size = 5
dense = 8

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2, 3]
epochs = 2

[[benchmark]]
name = "diverging"
strategy = "simple_cnn"
filters = [2, 3]
optimizer = { name = "sgd", lr = 1e30 }
matrix = { batch_size = [4, 5] }

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
backbone = "vgg_mini"
weights = "random"

[[benchmark]]
name = "fine_tune"
strategy = "fine_tune"
backbone = "vgg_mini"
weights = "random"
head_from = "bottleneck"
reuse_frozen = true
"""
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two runs of one suite."""
    return record_runs(tmp_path_factory.mktemp("recorded"), 2)


@pytest.fixture
def run(recorded: list[Path], tmp_path: Path) -> Path:
    """Return a copy of the first run, to change."""
    return Path(shutil.copytree(recorded[0], tmp_path / recorded[0].name))


def findings_on(run: Path) -> list[str]:
    """Return what does not follow in a run, a line each."""
    return list(map(str, verify_run(RunFolder.open(run)).found))


def rewrite(run: Path, edit: Callable[[list[Record]], None]) -> None:
    """Change the records of a run, and give each its right checksum."""
    records, _ = journal.read(run / "records.jsonl")
    edit(records)
    (run / "records.jsonl").write_bytes(b"".join(map(journal.encode, records)))


def edit_json(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def edit_csv(file: Path, column: str, text: str, *, line: int) -> None:
    """Change one cell of a CSV file, whose first line is its header."""
    rows = list(csv.reader(io.StringIO(file.read_text())))
    rows[line - 1][rows[0].index(column)] = text
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    file.write_text(buffer.getvalue())


def metric(name: str, factor: float) -> Callable[[list[Record]], None]:
    """Return what changes a metric of the last trial."""
    return lambda records: records[-1]["metrics"].update(
        {name: records[-1]["metrics"][name] * factor}
    )


def other_block(records: list[Record]) -> None:
    """Let a block have taken longer."""
    epoch, steps, seconds = records[-1]["blocks"][0]
    records[-1]["blocks"][0] = [epoch, steps, 2 * seconds]


def other_bits(records: list[Record]) -> None:
    """Let the model have been right on other images."""
    bits = bytearray(base64.b64decode(records[-1]["test_bits"]))
    bits[0] ^= 0b1100_0000 if bits[0] >> 6 in (0, 3) else 0b1000_0000
    records[-1]["test_bits"] = base64.b64encode(bits).decode()


def logits(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return the first distance of logits in certificate.json."""
    stages = certificate["certificates"][1]["stages"]
    return next(stage for stage in stages if stage["stage"] == "logits")


def other_answer(run: Path, name: str) -> None:
    """Let an answer in a report name another ratio."""
    file = run / name
    text, count = re.subn(r"(\d)\.(\d\d+)x ", r"\g<1>7.\2x ", file.read_text())
    assert count
    file.write_text(text)


LAST = "records.jsonl: cnn numpy, trial 2"
DOCTORED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a figure in trials.csv": (
        lambda run: edit_csv(run / "trials.csv", "train_images_per_s", "9999.5", line=6),
        "trials.csv: line 6 (cnn numpy, trial 1), train_images_per_s: expected ",
    ),
    "a figure in summary.csv": (
        lambda run: edit_csv(run / "summary.csv", "epoch_s", "0.5", line=4),
        "summary.csv: line 4 (cnn numpy), epoch_s: expected ",
    ),
    "a figure in epochs.csv": (
        lambda run: edit_csv(run / "epochs.csv", "train_loss", "0.5", line=3),
        "epochs.csv: line 3 (cnn numpy, trial 1, epoch 2), train_loss: expected ",
    ),
    "a dropped record": (
        lambda run: rewrite(run, lambda records: records.pop()),
        f"{LAST}: expected a record, as planned, found none",
    ),
    "a rate": (
        lambda run: rewrite(run, metric("train_images_per_s", 2)),
        f"{LAST}: train_images_per_s: expected ",
    ),
    "a step time": (
        lambda run: rewrite(run, metric("step_ms_p90", 0.5)),
        f"{LAST}: step_ms_p90: expected ",
    ),
    "a phase": (
        lambda run: rewrite(run, metric("import_s", 1e9)),
        f"{LAST}: wall_s: expected ",
    ),
    "a block": (lambda run: rewrite(run, other_block), f"{LAST}: train_s: expected "),
    "an accuracy": (
        lambda run: rewrite(run, metric("test_top1", 1.125)),
        f"{LAST}: test_top1: expected ",
    ),
    "bits": (lambda run: rewrite(run, other_bits), f"{LAST}: test_right: expected "),
    "settings": (
        lambda run: rewrite(run, lambda records: records[-1]["settings"].update(dense=99)),
        f"{LAST}: setting dense: expected 8, found 99",
    ),
    "a seed": (
        lambda run: rewrite(run, lambda records: records[-1].update(seed=99)),
        f"{LAST}: seed: expected ",
    ),
    "a proof in a record": (
        lambda run: rewrite(run, lambda records: records[-1]["ledger"].update(verdict="epoch 1")),
        f"{LAST}: proof against single: expected partial: ledger (epoch 1), found proven",
    ),
    "a verdict": (
        lambda run: edit_json(
            run / "certificate.json",
            lambda content: content["certificates"][1].update(verdict="partial: logits (1 over 2)"),
        ),
        "certificate.json: cnn, numpy and single: verdict: expected proven, found partial",
    ),
    "a distance": (
        lambda run: edit_json(
            run / "certificate.json", lambda content: logits(content).update(off=0.5)
        ),
        "certificate.json: cnn, numpy and single: logits, numpy and single: within: expected "
        "False, found True",
    ),
    "a distance within its tolerance": (
        lambda run: edit_json(
            run / "certificate.json", lambda content: logits(content).update(off=1.5e-9)
        ),
        "report.html: certificate: cnn, numpy and single: logits: expected 1.5e-09, found ",
    ),
    "a tolerance": (
        lambda run: edit_json(
            run / "certificate.json", lambda content: logits(content).update(tolerance=0.5)
        ),
        "certificate.json: cnn, numpy and single: logits, numpy and single: tolerance: expected ",
    ),
    "the tolerance of a stage": (
        lambda run: edit_json(
            run / "certificate.json", lambda content: content["tolerances"][0].update(tolerance=9.0)
        ),
        "certificate.json: tolerance of stage counts: expected at most 0, found ",
    ),
    "no certificate": (
        lambda run: (run / "certificate.json").unlink(),
        f"{LAST}: proof against single: expected nothing, found proven",
    ),
    "an answer in the page": (
        lambda run: other_answer(run, "report.html"),
        "report.html: answer: cnn: expected ",
    ),
    "an answer in Markdown": (
        lambda run: other_answer(run, "report.md"),
        "report.md: line ",
    ),
    "an answer in the chart": (
        lambda run: other_answer(run, "chart.svg"),
        "chart.svg: cnn: expected ",
    ),
    "the digest of the data": (
        lambda run: edit_json(
            run / "run.json", lambda content: content["dataset"].update(digest="feedbeefcafe")
        ),
        "run.json: dataset: digest: expected ",
    ),
    "all digests of the data": (
        lambda run: edit_json(
            run / "run.json",
            lambda content: content["dataset"].update(
                digest="feedbeefcafe", slices=[{"digest": "feedbeefcafe"}]
            ),
        ),
        "run.json: dataset: digest: expected ",
    ),
    "the machine": (
        lambda run: edit_json(run / "run.json", lambda content: content.update(machine="faster")),
        f"{LAST}: machine: expected faster, found ",
    ),
    "a trial twice": (
        lambda run: rewrite(run, lambda records: records.append(dict(records[-1], id="another"))),
        f"{LAST}: expected one record, found two",
    ),
    "a trial replaced": (
        lambda run: rewrite(run, lambda records: records.append(dict(records[-1]))),
        "records.jsonl: line 9: id: expected a new one, found that of line 8",
    ),
    "a damaged line": (
        lambda run: (run / "records.jsonl").write_bytes(
            (run / "records.jsonl").read_bytes().replace(b'"trial":2', b'"trial":3', 1)
        ),
        "records.jsonl: line 3: expected a record with its checksum, of a known format, found ",
    ),
    "a status": (
        lambda run: rewrite(run, lambda records: records[-1].update(reason="none")),
        f"{LAST}: reason given: expected False, found True",
    ),
    "flags": (
        lambda run: rewrite(run, lambda records: records[-1].update(flags=["below_chance"])),
        f"{LAST}: flags: expected ",
    ),
    "no blocks": (
        lambda run: rewrite(run, lambda records: records[-1].update(blocks=[])),
        f"{LAST}: blocks: expected timed blocks, found none",
    ),
    "no ledger": (
        lambda run: rewrite(
            run,
            lambda records: (
                metric("train_images_per_s", 2)(records) or records[-1].update(ledger=None)
            ),
        ),
        f"{LAST}: train_images_per_s: expected ",
    ),
    "a failure without its place": (
        lambda run: rewrite(
            run,
            lambda records: records[-1].update(status="failed", reason="bad", failure=None),
        ),
        f"{LAST}: failure: expected the phase in which it failed, found none",
    ),
    "the number of images": (
        lambda run: rewrite(run, lambda records: records[-1].update(train_count=999)),
        f"{LAST}: images of train, validation, test: expected ",
    ),
    "a stage of a certificate": (
        lambda run: edit_json(
            run / "certificate.json",
            lambda content: content["certificates"][1].update(
                stages=[
                    stage
                    for stage in content["certificates"][1]["stages"]
                    if stage["stage"] != "gradients"
                ]
            ),
        ),
        "certificate.json: cnn, numpy and single: stages: expected gradients, found none",
    ),
    "a trial of a number that nobody counts to": (
        lambda run: rewrite(run, lambda records: records[-1].update(trial=10**9)),
        "cnn numpy: trials: expected at most 100,000, found 1000000000",
    ),
    "a note in the page": (
        lambda run: (run / "report.html").write_text(
            (run / "report.html").read_text().replace("medians over n trials", "means of trials")
        ),
        "report.html: note: numbers: expected medians over n trials",
    ),
    "the setting in the page's header": (
        lambda run: (run / "report.html").write_text(
            (run / "report.html").read_text().replace("suite tiny |", "suite other |")
        ),
        "report.html: header: expected suite tiny |",
    ),
    "fields that are no longer there": (
        lambda run: rewrite(run, lambda records: records[-1].pop("settings")),
        "expected the fields that benchharness writes, found KeyError: 'settings'",
    ),
}


def test_a_run_follows_from_its_samples(run, recorded):
    """All of its files, as a folder and as a zip; nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    sent = shutil.make_archive(str(run.parent / "sent"), "zip", run)

    for form in (run, sent):
        done = invoke("verify", form)
        assert (done.return_value, "all follow" in done.output) == (0, True), done.output
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.mark.parametrize("kind", DOCTORED)
def test_what_was_doctored_is_named_with_its_place(run, kind):
    """Its file, row and column, what was expected and what was found; exit 1."""
    doctor, words = DOCTORED[kind]
    doctor(run)

    done = invoke("verify", run)

    assert done.return_value == 1
    assert words in done.output


@pytest.mark.parametrize("kind", ["a rate", "a step time", "a block", "an accuracy", "bits"])
def test_a_doctored_record_is_named_though_all_else_was_made_from_it(run, kind):
    """Tables and reports that were rebuilt from it agree with it, and its samples do not."""
    doctor, words = DOCTORED[kind]
    doctor(run)
    assert invoke("report", run).return_value == 0

    lines = findings_on(run)

    assert [line for line in lines if line.startswith(words)]
    assert not [line for line in lines if not line.startswith("records.jsonl")]


def test_findings_are_json_on_request(run):
    """With what was not checked."""
    edit_csv(run / "trials.csv", "seed", "5", line=2)

    done = invoke("verify", run, "--json")

    content = json.loads(done.output)
    assert done.return_value == 1
    (finding,) = content["findings"]
    assert finding["where"] == "trials.csv: line 2 (feed numpy, trial 1), seed"
    assert finding["found"] == "5"
    assert "drawings of charts" in content["not_checked"]
    assert content["figures"] > 1000


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_with_all_that_runs_have_follows(tmp_path, monkeypatch):
    """Looks, trials that fail, a matrix, heads, stored features; also merged with its like."""
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(tmp_path / "cache"))
    suite, results = tmp_path / "tiny.toml", tmp_path / "results"
    suite.write_text(RICH)
    words = ("--device", "cpu", "--results", results, "--no-proof", "-q")
    assert invoke("run", suite, *words).return_value == 1
    run = next(path for path in (results / "tiny").iterdir() if not path.is_symlink())
    other = Path(shutil.copytree(run, tmp_path / "other"))
    rewrite(
        other,
        lambda records: [r.update(started=f"2027{r['started'][4:]}") for r in records] and None,
    )
    for file in (*other.glob("*.csv"), other / "report.html"):
        file.unlink()
    statuses = {record["status"] for record in RunFolder.open(run).records()[0]}

    merged, _ = merge(list(map(RunFolder.open, (run, other))), tmp_path / "merged")

    assert "ok" in statuses and statuses & {"diverged", "failed"}
    assert RunFolder.open(run).read_run()["looks"]
    for folder in (run, other, merged.path):
        assert findings_on(folder) == []
    edit_json(run / "run.json", lambda run: run["looks"][0]["pairs"][0].update(ratio=7.0))
    assert [line for line in findings_on(run) if "look at cnn, numpy and single: ratio" in line]
    edit_json(run / "run.json", lambda run: run.update(looks=[]))
    assert "run.json: looks: cnn numpy: expected the look that ended its trials, found none" in (
        findings_on(run)
    )


def test_a_record_dropped_from_a_merged_run_is_named(recorded, tmp_path):
    """By its number in the merged run."""
    merged, _ = merge(list(map(RunFolder.open, recorded)), tmp_path / "merged")
    assert findings_on(merged.path) == []

    rewrite(merged.path, lambda records: records.pop())

    (line,) = findings_on(merged.path)
    assert line.startswith("records.jsonl: cnn numpy, trial 4: expected a record, as planned")


def test_verdicts_of_a_comparison_follow_from_its_trials(tmp_path, monkeypatch):
    """And another word, another ratio or another exit code does not."""
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(tmp_path / "cache"))
    suite = tmp_path / "tiny.toml"
    suite.write_text(SUITE)
    words = ("--suite", suite, "--results", tmp_path, "--pairs", "6", "--device", "cpu", "-q")
    invoke("compare", "numpy", "single", *words, "--benchmark", "cnn", "--no-proof")
    (file,) = tmp_path.rglob("comparison.json")
    file = file.resolve()
    assert findings_on(file.parent) == []

    def edit(content: dict[str, Any]) -> None:
        content["exit_code"] = 7
        content["cells"][0]["verdicts"][0].update(change=7.0)

    edit_json(file, edit)

    lines = findings_on(file.parent)
    assert lines[0].startswith("comparison.json: cnn: best_epoch_s: change: expected ")
    assert lines[1].startswith("comparison.json: exit_code: expected ")
    assert len(lines) == 2
    edit_json(file, lambda content: content.update(cells=[], exit_code=0))
    assert (
        "comparison.json: cells: expected one with records.jsonl: cnn numpy, trial 1"
        in (findings_on(file.parent)[0])
    )


@pytest.mark.parametrize(
    "run",
    sorted(path.parent.name for path in (ROOT / "results/reference").glob("*/records.jsonl")),
)
def test_published_runs_follow(run):
    """What an older version did not record is named as not checked, and is no finding."""
    findings = verify_run(RunFolder.open(ROOT / "results/reference" / run))

    assert list(map(str, findings.found)) == []
    assert findings.figures > 4000


def test_reports_of_another_version_are_not_checked(run):
    """Its words may be others."""
    other_answer(run, "report.md")
    edit_json(run / "run.json", lambda content: content.update(benchharness="0.0.1"))

    findings = verify_run(RunFolder.open(run))

    assert findings.found == []
    assert any("report.html, report.md, chart.svg, written by" in w for w in findings.unchecked)


def test_no_framework_is_imported(run):
    """A colleague needs nothing but the core."""
    program = (
        "import sys; from pathlib import Path\n"
        "from benchharness.results.run_folder import RunFolder\n"
        "from benchharness.verify.run import verify_run\n"
        "assert not verify_run(RunFolder.open(Path(sys.argv[1]))).found\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'altair'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.001, False),
        (1, 1.0, True),
        (True, 1, False),
        (None, 0.0, False),
        ("a", "a", True),
        ([1], [2], False),
    ],
)
def test_values_are_the_same_but_for_rounding(expected, found, same):
    """Numbers within a share, and nothing is 0 only because it is unknown."""
    assert is_same(expected, found) is same


def test_a_malformed_file_is_a_finding():
    """With what was wrong with it, and the rest is checked."""
    findings = Findings()

    with findings.reading("x.json"):
        raise KeyError("name")

    assert str(findings.found[0]) == (
        "x.json: expected the fields that benchharness writes, found KeyError: 'name'"
    )
