"""Plan of a comparison: which cells are compared, and the settings of each side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from suite_files import problems_of, suite_of

from benchharness.compare.overrides import Overrides, parse_overrides
from benchharness.compare.plan import ComparisonPlan, plan_comparison
from benchharness.compare.targets import Side, TargetSpec, backends_of, parse_target, side_of
from benchharness.compare.verdict import Criteria, read_thresholds
from benchharness.errors import SuiteError
from benchharness.model.quantities import QUANTITIES
from benchharness.run.requests import backend_plugin
from benchharness.suite.resolve import resolve

SUITE = """
name = "pets"
trials = 1
backends = ["keras", "torch"]

[dataset]
source = "drawn"

[backend.keras]
options = { engine = "jax" }

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
matrix = { batch_size = [16, 32] }

[[benchmark]]
name = "features"
strategy = "bottleneck"

[[benchmark]]
name = "tuned"
strategy = "fine_tune"
head_from = "features"
"""


def overrides_of(*texts: str, option: str = "--set") -> Overrides:
    """Return the changes that texts say; they say nothing wrong."""
    changes, problems = parse_overrides(texts, option=option)
    assert not problems
    return changes


def side(backend: str | None = None, *texts: str, revision: str | None = None) -> Side:
    """Return a side."""
    return Side(label="", backend=backend, overrides=overrides_of(*texts), revision=revision)


def planned(folder: Path, a: Side, b: Side, *, benchmarks: tuple[str, ...] = ()) -> ComparisonPlan:
    """Return two sides of the suite in one plan."""
    names = tuple(dict.fromkeys(one.backend for one in (a, b) if one.backend))
    plan = resolve(suite_of(folder, SUITE), profile=None, backends=names, benchmarks=benchmarks)
    return plan_comparison(plan, a, b, pairs=6, is_extracting=True)


def test_two_backends_meet_at_every_point(tmp_path: Path):
    """Each keeps its name and its table, and the cell is named without a backend."""
    both = planned(tmp_path, side("keras"), side("torch"))

    assert [pair.label for pair in both.cells] == [
        "cnn batch_size=16",
        "cnn batch_size=32",
        "features",
        "tuned",
    ]
    assert {(c.a.backend, c.b.backend) for c in both.cells} == {("keras", "torch")}
    assert backend_plugin(both.plan, "keras") == ("keras", {"engine": "jax"})


def test_variants_of_a_suite_meet_on_every_backend(tmp_path: Path):
    """B is a backend of its own, with the same plugin and other settings."""
    both = planned(tmp_path, side(), side(None, "precision=bfloat16", "options.engine=torch"))

    named = "precision=bfloat16 options.engine=torch"
    assert [(c.a.backend, c.b.backend) for c in both.cells[:2]] == [
        ("keras", f"keras {named}"),
        ("torch", f"torch {named}"),
    ]
    assert both.cells[0].label == "cnn batch_size=16 keras"
    assert {c.a.settings.precision for c in both.cells} == {"float32"}
    assert {c.b.settings.precision for c in both.cells} == {"bfloat16"}
    assert backend_plugin(both.plan, f"keras {named}") == ("keras", {"engine": "torch"})
    assert backend_plugin(both.plan, "keras") == ("keras", {"engine": "jax"})


@pytest.mark.parametrize(
    ("revisions", "names"),
    [
        # As for the noise of a machine.
        ((None, None), ("torch A", "torch B")),
        # The working tree is called worktree.
        (("HEAD~1", "."), ("torch HEAD~1", "torch worktree")),
    ],
)
def test_sides_of_one_backend_are_told_apart(
    tmp_path: Path, revisions: tuple[str | None, str | None], names: tuple[str, str]
):
    """By their revisions, or else as A and B; the plugin is the same."""
    both = planned(tmp_path, *(side("torch", revision=revision) for revision in revisions))

    assert {(c.a.backend, c.b.backend) for c in both.cells} == {names}
    assert backend_plugin(both.plan, names[1]) == ("torch", {})


def test_features_are_extracted_anew_where_that_is_timed(tmp_path: Path):
    """Else B would read what A has stored."""
    both = planned(tmp_path, side(), side())

    features = [c.b.settings for c in both.cells if c.a.benchmark == "features"]
    assert all(one.reuse_features is False for one in features)


def test_a_benchmark_that_only_trains_heads_is_not_compared(tmp_path: Path):
    """Nobody asked for it."""
    both = planned(tmp_path, side("keras"), side("torch"), benchmarks=("tuned",))

    assert [(c.label, c.is_compared) for c in both.cells] == [
        ("features", False),
        ("tuned", True),
    ]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["batch_size=8"], {"batch_size": 8}),
        (["compile=true", "precision=tf32"], {"compile": True, "precision": "tf32"}),
        (
            ["optimizer.lr=0.1", "optimizer.momentum=0.5"],
            {"optimizer": {"lr": 0.1, "momentum": 0.5}},
        ),
        (["filters=[8, 16]"], {"filters": [8, 16]}),
        (["head_from=a b"], {"head_from": "a b"}),
    ],
)
def test_changes_are_read_as_toml_or_else_as_text(texts: list[str], expected: dict[str, Any]):
    """A dot leads into a table."""
    assert overrides_of(*texts).settings == expected


def test_a_change_of_one_constant_leaves_the_others(tmp_path: Path):
    """The optimizer is still the strategy's own."""
    both = planned(tmp_path, side(), side(None, "optimizer.lr=0.25"))

    a, b = both.cells[-1].a.settings, both.cells[-1].b.settings
    assert b.optimizer == a.optimizer.model_copy(update={"lr": 0.25})
    assert b.optimizer.momentum == 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize=3", '--set batchsize: .*did you mean "batch_size"'),
        ("batch_size=8", "--set batch_size: expected a key that no matrix varies"),
        ("epochs=0", "--set epochs: expected a whole number from 1 to 10000, found 0"),
        ("precision=float8", '--set precision: expected "float32"'),
        ("optimizer.momentum=0.5", "--set optimizer.momentum"),
    ],
)
def test_changes_that_are_not_understood_are_refused(tmp_path: Path, text: str, message: str):
    """Where, what was expected, what was found, and the nearest spelling."""
    with pytest.raises(SuiteError, match=message):
        planned(tmp_path, side(), side(None, text))


def test_a_change_without_a_value_is_a_problem():
    """It says what it should look like."""
    _, problems = parse_overrides(["batch_size"], option="--set-a")

    assert str(problems[0]) == '--set-a: expected key=value, found "batch_size"'


def test_sides_are_backends_runs_or_else_revisions(tmp_path: Path):
    """A prefix says which, where a name is several."""
    run = tmp_path / "pets" / "2026-11-24T120000Z-abcd"
    run.mkdir(parents=True)
    (run / "records.jsonl").touch()
    kinds = {
        "torch": "backend",
        "pets": "run",
        str(run): "run",
        "main": "rev",
        "rev:torch": "rev",
        "run:torch": "run",
        "backend:main": "backend",
    }

    found = {text: parse_target(text, backends=["torch"], results=tmp_path).kind for text in kinds}

    assert found == kinds


def test_labels_say_what_a_side_is():
    """What the user wrote, or that nothing is changed."""
    written = TargetSpec(kind="written", text="")

    assert side_of(written, overrides_of()).label == "as written"
    assert side_of(written, overrides_of("epochs=2")).label == "epochs=2"
    assert side_of(TargetSpec(kind="backend", text="torch"), overrides_of("epochs=2")).label == (
        "torch epochs=2"
    )


def test_every_backend_that_a_suite_names_is_known(tmp_path: Path):
    """Those of benchmarks and profiles too."""
    text = SUITE + '[profiles.quick]\nbackends = ["numpy"]\n'

    assert backends_of(suite_of(tmp_path, text)) == ["keras", "torch", "numpy"]


# --- What counts ---------------------------------------------------------------------------------

TABLES = """
[regression]
threshold = 0.08
peak_host_bytes = 0.03

[profiles.quick.benchmark.cnn]
regression = { threshold = 0.2 }
"""


def criteria_of(folder: Path, text: str, *, profile: str | None = None, **asked: Any) -> Criteria:
    """Return what counts as worse in a suite."""
    found = suite_of(folder, text).regression_settings(profile=profile)
    return Criteria.of(found, **{"columns": (), "thresholds": {}} | asked)


def test_the_nearest_threshold_wins(tmp_path: Path):
    """Column over all speeds, benchmark over suite, profile over both, the user over all."""
    text = SUITE.replace(
        'strategy = "simple_cnn"',
        'strategy = "simple_cnn"\nregression = { wall_s = 0.5, test_top1 = 0.1 }',
    )
    plain = criteria_of(tmp_path, text + TABLES)
    quick = criteria_of(tmp_path, text + TABLES, profile="quick")
    asked = criteria_of(tmp_path, text + TABLES, thresholds=read_thresholds(["7%", "wall_s=0.6"]))

    assert plain.threshold("cnn", "train_images_per_s") == 0.08
    assert plain.threshold("cnn", "wall_s") == 0.5
    assert plain.threshold("cnn", "peak_host_bytes") == 0.03
    assert plain.threshold("cnn", "peak_device_bytes") == 0.02
    assert plain.threshold("cnn", "test_top1") == 0.1
    assert plain.threshold("features", "test_top1") == 0.02
    assert quick.threshold("cnn", "train_images_per_s") == 0.2
    assert quick.threshold("features", "train_images_per_s") == 0.08
    assert asked.threshold("cnn", "train_images_per_s") == pytest.approx(0.07)
    assert asked.threshold("cnn", "wall_s") == 0.6
    assert asked.threshold("cnn", "peak_host_bytes") == 0.03


def test_columns_that_somebody_names_have_to_be_decided(tmp_path: Path):
    """In the suite or on the command line; an accuracy that nobody names is merely watched."""
    usual = criteria_of(tmp_path, SUITE)
    named = criteria_of(tmp_path, SUITE + '[regression]\ncolumns = ["test_top1", "wall_s"]\n')
    asked = criteria_of(tmp_path, SUITE, columns=("compile_s",))

    top1 = QUANTITIES["test_top1"]
    assert "train_images_per_s" in usual.columns
    assert not usual.is_required(top1)
    assert usual.is_required(QUANTITIES["train_images_per_s"])
    assert usual.is_required(QUANTITIES["best_epoch_s"])
    assert named.columns == ("test_top1", "wall_s")
    assert named.is_required(top1)
    assert asked.columns == ("compile_s",)


def test_mistakes_in_regression_tables_are_told_with_the_nearest_spelling(tmp_path: Path):
    """All at once, where they stand."""
    text = SUITE.replace(
        'strategy = "bottleneck"',
        'strategy = "bottleneck"\nregression = { peak_host_byte = 0.1, threshold = 0 }',
    )
    problems = problems_of(
        tmp_path, text + '[regression]\ntreshold = 0.1\npairs = 3\ncolumns = ["wall"]\n'
    )

    assert len(problems) == 5
    told = "\n".join(problems)
    assert 'benchmark "features": regression.peak_host_byte' in told
    assert 'did you mean "peak_host_bytes"?' in told
    assert 'did you mean "threshold"?' in told
    assert "regression.pairs: expected a whole number from 6 to 1000, found 3" in told
    assert "regression.columns" in told


@pytest.mark.parametrize("text", ["", "x", "0", "-5%", "5000%", "nan"])
def test_a_threshold_is_a_share_above_0(text: str):
    """Of a per cent sign or without."""
    with pytest.raises(SuiteError, match="--threshold: expected a share above 0"):
        read_thresholds([text])


def test_an_unknown_column_of_a_threshold_is_named():
    """With the nearest spelling."""
    with pytest.raises(SuiteError, match='did you mean "test_top1"'):
        read_thresholds(["test_top=1%"])
