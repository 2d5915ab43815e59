"""Certificates of whole suites: the NumPy reference in two precisions."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from in_process import workers_here
from local_plugins import install
from suite_files import NUMPY_TWINS

from benchharness import plugins
from benchharness.fairness.certificate import Certificate
from benchharness.run import certify as certify_module
from benchharness.run.events import Event, Probing, unobserved
from benchharness.run.options import RunOptions
from benchharness.run.session import Session, open_session, start_run
from benchharness.run.session import certify as certify_suite

pytestmark = pytest.mark.slow

SUITE = (
    """
name = "equal"
trials = 1
seed = 3
"""
    + NUMPY_TWINS
    + """
[defaults]
image_size = 32
train_images = 40
test_images = 4
batch_size = 6
dense = 8

[[benchmark]]
name = "dataset"
strategy = "dataset"
augmentation = { flip_horizontal = true, rotation = 20 }

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2, 3]
matrix = { preprocessing = ["unit", "zca"] }
augmentation = { shear = 0.2, zoom = 0.2 }

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
weights = "random"

[[benchmark]]
name = "fine_tune"
strategy = "fine_tune"
weights = "random"
head_from = "bottleneck"
optimizer = { name = "sgd", lr = 1e-2, momentum = 0.9 }
"""
)
# Its first benchmark, which trains nothing.
FED = SUITE.partition('[[benchmark]]\nname = "small"')[0]
STAGES = {
    "counts",
    "weights",
    "pixels",
    "logits",
    "loss",
    "gradients",
    "losses",
    "movement",
    "evaluation",
    "optimizer",
    "decay",
    "dropout",
    "masks",
    "coverage",
    "guesses",
    "last step",
    "labels",
    "order",
}


def session(folder: Path, text: str = SUITE, **request: Any) -> Session:
    """Open a session on a suite below a folder."""
    suite = folder / "suite.toml"
    suite.write_text(text)
    return open_session(
        RunOptions(suite=suite, results=folder / "results", device="cpu", **request),
        environment=dict(os.environ),
        cache=folder / "cache",
    )


def certify(
    folder: Path, text: str = SUITE, *, in_process: bool = True
) -> tuple[list[Certificate], list[str]]:
    """Return the certificates of a suite, and how many cells each backend was probed at."""
    events: list[Event] = []
    with workers_here() if in_process else nullcontext():
        found = certify_suite(session(folder, text), events.append)
    probed = (event for event in events if isinstance(event, Probing))
    return found, [f"{event.backend}: {event.cells}" for event in probed if event.cell == 1]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has been certified once."""
    folder = tmp_path_factory.mktemp("certified")
    certificates, probed = certify(folder)
    (folder / "verdicts.json").write_text(
        json.dumps([[one.name, one.verdict] for one in certificates])
    )
    (folder / "probed.json").write_text(json.dumps(probed))
    return folder


def test_every_benchmark_and_point_is_proven(workplace: Path):
    """Float32 against float64: five pairs, each proven."""
    verdicts = json.loads((workplace / "verdicts.json").read_text())

    assert [verdict for _, verdict in verdicts] == ["proven"] * 5
    assert verdicts[1][0] == "small preprocessing=unit, numpy and single"


def test_each_backend_is_probed_in_one_process(workplace: Path):
    """Two backends and the reference, which here is one of them and already there."""
    probed = json.loads((workplace / "probed.json").read_text())

    assert probed[:2] == [
        "numpy: 5",
        "single: 5",
    ]


def test_what_is_proven_is_not_proven_again(workplace: Path):
    """The second time no process is started, and the figures are the same."""
    certificates, probed = certify(workplace)

    assert probed == []
    assert all(certificate.is_proven for certificate in certificates)


def test_another_seed_or_setting_is_proven_anew(workplace: Path):
    """A cell's content decides; the other cells are kept."""
    _, probed = certify(workplace, SUITE.replace("shear = 0.2", "shear = 0.3"))

    assert "single: 2" in probed


def test_more_epochs_are_no_other_work(workplace: Path):
    """How long a cell trains decides nothing of what a step does."""
    _, probed = certify(
        workplace, SUITE.replace('strategy = "simple_cnn"', 'strategy = "simple_cnn"\nepochs = 3')
    )

    assert probed == []


def test_all_stages_are_compared(workplace: Path):
    """A training on images goes through every stage, frozen layers in fine-tuning."""
    certificates, _ = certify(workplace)

    stages = {one.benchmark: {finding.stage for finding in one.findings} for one in certificates}
    assert stages["small"] == STAGES
    assert stages["dataset"] == {"coverage", "labels", "order"}
    assert stages["bottleneck"] >= {"features", "logits"}
    assert stages["fine_tune"] >= {"frozen", "movement"}


def test_a_damaged_probe_is_made_again(tmp_path: Path):
    """Files cut short are no proof: the cells are probed anew, and proven."""
    _, first = certify(tmp_path, FED)
    for file in (tmp_path / "cache/probes").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])

    certificates, probed = certify(tmp_path, FED)

    assert probed == first
    assert all(certificate.is_proven for certificate in certificates)


HANGING = """
import time

from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend


class Backend(NumpyBackend):
    def feed(self, task):
        time.sleep(3600)


@hookimpl
def benchharness_backend(options):
    return Backend()
"""


def test_a_proof_that_hangs_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody has to ask for that; here it has seconds instead of half an hour."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    install(folder, "hanging", HANGING)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    plugins.installed.cache_clear()
    assert certify_module.SILENCE_S > 600
    monkeypatch.setattr(certify_module, "SILENCE_S", 5.0)
    text = SUITE.replace('"single"]', '"hanging"]').partition("[[benchmark]]")[0]

    feed = f'{text}[[benchmark]]\nname = "feed"\nstrategy = "dataset"\n'

    found, _ = certify(tmp_path, feed, in_process=False)

    plugins.installed.cache_clear()
    assert "hanging: no progress for 5 s" in found[0].obstacle


def test_a_backend_that_is_not_installed_cannot_be_compared(tmp_path: Path):
    """The others are certified, the pair says why it is not."""
    text = FED.replace('["numpy", "single"]', '["numpy", "elsewhere"]')

    certificates, _ = certify(tmp_path, text)

    assert {one.verdict.split(":")[0] for one in certificates} == {"not comparable"}
    assert "expected an installed plugin" in certificates[0].verdict


def test_a_run_writes_certificates_proofs_and_ledgers(workplace: Path):
    """certificate.json holds every figure; each record its verdict and its ledger."""
    proven = session(workplace, benchmarks=("small",))
    with workers_here(), start_run(proven, unobserved) as runner:
        folder, records = runner.folder, runner.run(unobserved)

    stored = json.loads((folder.path / "certificate.json").read_text())
    assert [one["verdict"] for one in stored["certificates"]] == ["proven", "proven"]
    assert {one["name"] for one in stored["tolerances"]} >= STAGES
    assert all(one["reason"] for one in stored["tolerances"])
    assert {record["proof"] for record in records} == {"proven"}
    assert {record["ledger"]["verdict"] for record in records} == {"as planned"}
    assert records[0]["proofs"] == {"single": "proven"}
    digests = {(str(r["matrix"]), r["ledger"]["digest"]) for r in records}
    assert len(digests) == 2


def test_a_run_without_proof_says_so(workplace: Path):
    """Nothing is certified, and no record claims anything."""
    unproven = session(workplace, benchmarks=("dataset",), proof="no")
    with workers_here(), start_run(unproven, unobserved) as runner:
        folder, records = runner.folder, runner.run(unobserved)

    assert not (folder.path / "certificate.json").exists()
    assert {record["proof"] for record in records} == {""}
