"""Ceilings: programs that import nothing of ours, bars, verdicts, and idioms that do the work."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchharness.model.host import warp_on_host
from benchharness.model.task import AugmentationParams

FOLDER = Path(__file__).parent / "benchmarks" / "ceilings"
FRAMEWORKS = {
    "torch": {"torch"},
    "keras": {"keras", "tensorflow", "jax", "torch"},
    "jax": {"jax", "flax", "optax"},
}
# Works that together take every path of a program, with images enough for a few steps.
CHECKED = {
    "head_small": 400,
    "simple_cnn_48": 40,
    "fine_tune_96": 10,
    "feed_48_augmented": 100,
    "evaluate_48": 40,
    "extract_96": 20,
}


def load_runner() -> ModuleType:
    """Import run.py by its path: its folder holds a torch.py and is never on the import path."""
    spec = importlib.util.spec_from_file_location("ceilings_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


runner = load_runner()


def imported(file: Path) -> set[str]:
    """Return the top-level packages that a program imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: a relative import"
            assert node.module is not None
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("program", FRAMEWORKS)
def test_a_ceiling_imports_its_framework_and_nothing_of_ours(program: str):
    """The standard library, NumPy and the framework; no import by name either."""
    file = FOLDER / f"{program}.py"

    foreign = imported(file) - set(sys.stdlib_module_names) - {"numpy"} - FRAMEWORKS[program]

    assert not foreign
    assert "importlib" not in imported(file)
    assert "__import__" not in file.read_text(encoding="utf-8")


def test_what_programs_cannot_share_is_the_same_in_all():
    """Trying, timing and serving are equal text in the three programs, but for names and setup."""

    def shared(program: str) -> str:
        text = (FOLDER / f"{program}.py").read_text(encoding="utf-8")
        return text[text.index("# What follows is the same") : text.index("def main()")]

    assert shared("torch") == shared("keras") == shared("jax")


@pytest.mark.parametrize(
    ("step_ms", "bar"),
    [(0.11, 0.5), (1.0, 0.90), (4.999, 0.90), (5.0, 0.97), (300.0, 0.97)],
)
def test_the_bar_is_higher_for_long_steps(step_ms: float, bar: float):
    """From 5 ms on there is no excuse; a step below 1 ms may take 0.11 ms more."""
    assert runner.bar_for(step_ms) == bar


def summarize(ceiling_s: Sequence[float], harness_s: Sequence[float]) -> Any:
    """Return the row of rounds of 10 steps."""
    return runner.summarize(
        work="head_small",
        backend="torch",
        idiom="plain",
        round_steps=10,
        ceiling_s=[seconds / 10 for seconds in ceiling_s],
        harness_s=[seconds / 10 for seconds in harness_s],
    )


def test_a_share_is_the_median_of_paired_rounds():
    """Each round is compared with its pair, not with the others."""
    row = summarize([0.1, 0.2, 0.4], [0.1, 0.25, 0.8])

    assert row.share == pytest.approx(0.8)
    assert row.share_p25 == pytest.approx(0.5)
    assert row.share_p75 == pytest.approx(1.0)
    assert row.ceiling_step_ms == pytest.approx(20.0)
    assert row.harness_step_ms == pytest.approx(25.0)
    assert (row.bar, row.verdict) == (0.97, "short")


def test_a_share_at_the_bar_is_enough():
    """Of steps from 1 to 5 ms, 0.90 is asked."""
    assert summarize([0.0182], [0.02]).verdict == "ok"
    assert summarize([0.0178], [0.02]).verdict == "short"


def test_doubling_every_time_changes_no_share():
    """A machine half as fast gives the same shares."""
    once = summarize([0.01, 0.02, 0.03], [0.02, 0.03, 0.03])
    twice = summarize([0.02, 0.04, 0.06], [0.04, 0.06, 0.06])

    assert twice.share == pytest.approx(once.share)


FAKE = """
import json, sys
step_s = float(sys.argv[1])
print(json.dumps({"versions": {"fake": "1.0"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "prepare":
        found = {"plain": step_s, "odd": "ValueError: no"}
        reply = {"idioms": found, "idiom": "plain", "epoch_s": 10 * step_s}
    else:
        steps = 10 * request["epochs"]
        reply = {"seconds": step_s * steps, "steps": steps}
    print(json.dumps(reply), flush=True)
"""
ABSENT = "raise ModuleNotFoundError(\"No module named 'fake'\")"


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., int]:
    """Return what runs the comparison with programs of two given texts, or step times."""

    def command(program: float | str, *, name: str) -> Sequence[str]:
        file = tmp_path / f"{name}.py"
        file.write_text(FAKE if isinstance(program, float) else program, encoding="utf-8")
        return [sys.executable, str(file), str(program)]

    def run(*options: str, ceiling: float | str, harness: Mapping[str, float | str]) -> int:
        def commands(**details: Any) -> tuple[Sequence[str], Sequence[str]]:
            own = command(harness[details["backend"]], name=f"harness_{details['backend']}")
            return command(ceiling, name="ceiling"), own

        backends = [option for name in harness for option in ("--backend", name)]
        code: int = runner.main(
            ["--work", "head_small", "--rounds", "3", *backends, *options], commands=commands
        )
        return code

    return run


def test_a_slow_harness_is_named(compare: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    """The exit code is 1, and the backend is said with its share and its bar."""
    code = compare(ceiling=0.02, harness={"torch": 0.0201, "jax": 0.03})

    said = capsys.readouterr().out
    assert code == 1
    assert "head_small in jax: expected a share of at least 0.97, found 0.667" in said
    assert "head_small in torch" not in said


def test_a_harness_that_keeps_up_passes(compare: Callable[..., int]):
    """All shares reach their bars: the exit code is 0."""
    assert compare(ceiling=0.02, harness={"torch": 0.0201, "jax": 0.02}) == 0


def test_a_missing_framework_is_a_row_with_a_reason(
    compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    """Nothing falls short where nothing can be compared; the other rows are complete."""
    code = compare(ceiling=0.02, harness={"torch": ABSENT, "jax": 0.02})

    said = capsys.readouterr().out
    assert code == 0
    assert "No module named 'fake'" in said
    assert "skipped" in said
    assert "1.000" in said


def test_a_harness_that_crashes_is_named(
    compare: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    """The last line that it wrote is the reason, and the exit code is 1."""
    code = compare(ceiling=0.02, harness={"torch": "raise ValueError('broken plugin')"})

    assert code == 1
    assert "head_small in torch: ValueError: broken plugin" in capsys.readouterr().out


def test_figures_are_written_with_their_circumstances(compare: Callable[..., int], tmp_path: Path):
    """CSV unrounded, Markdown with machine and load, and no name of the machine."""
    output = tmp_path / "output"

    compare("--output", str(output), ceiling=0.02, harness={"torch": 0.03})

    table, page = (output / "ceilings.csv").read_text(), (output / "README.md").read_text()
    assert table.splitlines()[0].startswith("work,backend,verdict,share,share_p25,share_p75,bar")
    assert f"head_small,torch,short,{0.02 / 0.03}"[:40] in table
    assert "head_small,torch,odd,,ValueError: no" in (output / "idioms.csv").read_text()
    assert re.search(r"load average \d+\.\d\d before", page)
    assert "short of the bar: head_small in torch" in page
    assert "fake 1.0" in page
    assert os.uname().nodename not in page


def test_only_a_whole_table_is_published(capsys: pytest.CaptureFixture[str]):
    """Some rows would replace all of them."""
    with pytest.raises(SystemExit):
        runner.parse(["--publish", "--backend", "torch"])

    assert "--publish: expected no --backend" in capsys.readouterr().err


Checked = Mapping[str, Mapping[str, Any]]
# Of one framework it is a test of every day.
OTHERS = ("keras", "keras-jax", "keras-torch", "jax")


@pytest.fixture(
    scope="module",
    params=["torch", *(pytest.param(name, marks=pytest.mark.bench) for name in OTHERS)],
)
def checked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Return what each idiom of a program has done, by work and idiom: scores and arrays."""
    program, engine = runner.CEILINGS[request.param]
    if find_spec(engine or request.param) is None or find_spec(program[:-3]) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    for work, images in CHECKED.items():
        runner.write_data(work, folder, images=images)
    # VGG16 with a sixteenth of its filters: the same path in less time.
    settings = re.sub(
        r'"conv", (\d+), "same"',
        lambda found: f'"conv", {int(found[1]) // 16}, "same"',
        (FOLDER / "settings.toml").read_text(encoding="utf-8"),
    )
    (folder / "settings.toml").write_text(settings, encoding="utf-8")
    works = [option for work in CHECKED for option in ("--work", work)]
    command = [sys.executable, "-P", str(FOLDER / program), *works, "--data", str(folder)]
    # Threads that wait for each other take long where other tests run.
    command += ["--threads", "1"]
    done = subprocess.run(
        [*command, "--check", str(folder / "results"), "--epochs", "3"],
        env={
            **runner.environment_of(request.param),
            "CEILINGS_SETTINGS": str(folder / "settings.toml"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {work: dict(read_results(folder / "results" / work)) for work in CHECKED}


def keys(found: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the names of weights that begin with a prefix."""
    names = (name.removeprefix("before/") for name in found if name.startswith("before/"))
    return [name for name in names if name.startswith(prefix)]


def read_results(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield each idiom's name and what it has done."""
    for name, found in json.loads((folder / "index.json").read_text(encoding="utf-8")).items():
        arrays = dict(np.load(folder / found["file"]))
        yield name, {"scores": found["scores"], **arrays}


@pytest.mark.full
def test_every_idiom_learns(checked: Checked):
    """The loss falls, and the learnt weights move."""
    for work in ("head_small", "simple_cnn_48", "fine_tune_96"):
        for name, found in checked[work].items():
            losses = [loss for loss, _ in found["scores"]]
            moved = [
                not np.array_equal(found[f"before/{key}"], found[f"after/{key}"])
                for key in keys(found, "learnt/")
            ]

            assert np.all(np.isfinite(losses)), (work, name)
            assert all(moved), (work, name)
            assert moved, (work, name)
            if work == "head_small":
                assert losses[-1] < losses[0], (work, name, losses)
                assert 0.5 < found["scores"][-1][1] <= 1, (work, name)


@pytest.mark.full
def test_idioms_learn_the_same(checked: Checked):
    """The first two idioms of a program take the same steps, down to the dropout masks."""
    first, second = list(checked["head_small"].values())[:2]

    assert np.array(first["scores"]) == pytest.approx(np.array(second["scores"]), rel=1e-2)


@pytest.mark.full
def test_frozen_blocks_stay(checked: Checked):
    """The first fourteen layers of VGG16 keep their weights in every idiom."""
    for name, found in checked["fine_tune_96"].items():
        frozen = keys(found, "front/")

        # Kernel and bias of ten convolutions.
        assert len(frozen) == 20, name
        for key in frozen:
            assert np.array_equal(found[f"before/{key}"], found[f"after/{key}"]), (name, key)


@pytest.mark.full
def test_every_idiom_augments_as_the_reference(checked: Checked):
    """Bilinear, edges repeated, colours shifted, clipped and normalised: what plugins must meet."""
    settings = runner.SETTINGS["preprocessing"]["imagenet"]
    for name, found in checked["feed_48_augmented"].items():
        warp = AugmentationParams(affine=found["after/affine"], colour=found["after/colour"])
        pixels = warp_on_host(found["after/inputs"], warp)
        expected = (pixels - np.float32(settings["mean"])) * np.float32(settings["scale"])

        np.testing.assert_allclose(found["after/outputs"], expected, atol=5e-3, err_msg=name)


@pytest.mark.full
def test_idioms_agree_where_nothing_is_random(checked: Checked):
    """Features and scores of the same weights differ by rounding."""
    # Flax draws its own weights.
    features, scores = (
        {name: found for name, found in checked[work].items() if name != "flax.nnx"}
        for work in ("extract_96", "evaluate_48")
    )
    first, *others = (found["after/outputs"] for found in features.values())
    losses = [found["scores"][-1][0] for found in scores.values()]

    assert first.shape == (20, 3, 3, 32)
    assert np.ptp(first) > 0
    for other, name in zip(others, list(features)[1:], strict=True):
        np.testing.assert_allclose(other, first, atol=1e-3 * np.abs(first).max(), err_msg=name)
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-3)
