"""Reading suite files: what is accepted, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_files import BOTTLENECK, CNN, FINE_TUNE, HEAD, PETS, problems_of, suite_of

from benchharness.errors import SuiteError
from benchharness.suite.load import load

SUITES = sorted((Path(__file__).parent.parent / "suites").glob("*.toml"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_of_the_project_loads(path: Path) -> None:
    """Our own suites have no problem, and are called as their files."""
    suite = load(path)

    assert suite.name == path.stem


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    """A file saved by a Windows editor says the same."""
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (PETS + CNN).replace("\n", "\r\n").encode())

    suite = load(path)

    assert suite.model_dump() == suite_of(tmp_path, PETS + CNN).model_dump()


def test_missing_file_names_the_file_that_was_perhaps_meant(tmp_path: Path) -> None:
    """A misspelt path is one line with the nearest file beside it."""
    (tmp_path / "cats_dogs.toml").touch()

    with pytest.raises(SuiteError) as caught:
        load(tmp_path / "cat_dogs.toml")

    assert caught.value.lines() == [
        f"{tmp_path / 'cat_dogs.toml'}: file: expected a suite in TOML, "
        'found no such file or directory (did you mean "cats_dogs.toml"?)'
    ]


def test_folder_is_not_a_suite(tmp_path: Path) -> None:
    """A folder in place of the file is one line, not a traceback."""
    with pytest.raises(SuiteError) as caught:
        load(tmp_path)

    assert len(caught.value.lines()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "a"\nseed 7\n', 'line 2, column 6: expected TOML, found "seed 7" (Expected '),
        ('name = "a"\nname = "b"\n', "line 2, column 11: expected TOML, found"),
        ('name = "a', "end of file: expected TOML, found an unfinished text (Unterminated string)"),
        ("seed = " + "[" * 5000, "a value: expected numbers of 64 bits and at most 20 levels"),
        ("seed = " + "9" * 5000, "a value: expected numbers of 64 bits"),
        ("seed = 0x" + "f" * 5000, "seed: expected numbers of 64 bits"),
        (f"[{'a.' * 500}a]", "a.a.a: expected numbers of 64 bits and at most 20 levels"),
    ],
)
def test_what_is_not_toml_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """A syntax error tells its line; excess is refused before anything recurses into it."""
    problems = problems_of(tmp_path, text)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_text_that_is_not_utf8_tells_its_line(tmp_path: Path) -> None:
    """A Latin-1 file is refused at the line of its first wrong byte."""
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "a"\ntitle = "caf\xe9"\n')

    with pytest.raises(SuiteError) as caught:
        load(path)

    assert caught.value.lines() == [
        f"{path}: line 2: expected UTF-8 text, found the byte 0xe9 (save the file as UTF-8)"
    ]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Mistakes of every kind, in every table, stand in one error."""
    text = """
        name = "pets"
        trails = 3
        seed = "7"
        epochs = 2
        [dataset]
        source = "cat_dogs"
        [defaults]
        batchsize = 10
        dropout = 1.5
        [[benchmark]]
        name = "cnn"
        strategy = "simple_cnn"
        backbone = "vgg16"
        filters = [64, "a"]
        matrix = { batch_size = [10, 0], dense = [] }
        [[benchmark]]
        name = "tuned"
        strategy = "fine_tune"
        head_from = "bottleneck"
        optimizer = { name = "adam", momentum = 0.9 }
        [[benchmark]]
        strategy = "bottlneck"
        [profiles.cpu]
        benchmarks = ["cnnn"]
        [profiles.cpu.dataset]
        source = "flatt"
        [profiles.cpu.benchmark.cnn]
        image_size = 4
    """

    problems = problems_of(tmp_path, text)

    kinds = '"dataset", "simple_cnn", "bottleneck" or "fine_tune"'
    sources = '"folder", "flat", "cats_dogs", "fashion_mnist" or "drawn"'
    unknown = "expected a known key, found an unknown one"
    assert sorted(problems) == sorted(
        [
            f'trails: {unknown} (did you mean "trials"?)',
            'seed: expected a whole number from 0 to 2147483647, found "7" '
            "(write it without quotes)",
            f"epochs: {unknown} (a setting: it belongs under defaults, or in a benchmark)",
            f'dataset.source: expected {sources}, found "cat_dogs" (did you mean "cats_dogs"?)',
            f'defaults.batchsize: {unknown} (did you mean "batch_size"?)',
            "defaults.dropout: expected a number, at least 0 and below 1, found 1.5",
            f'benchmark "cnn": backbone: {unknown} '
            "(a setting of strategy bottleneck and fine_tune only)",
            'benchmark "cnn": filters, item 2: expected a whole number from 1 to 65536, found "a"',
            'benchmark "cnn": matrix.batch_size, item 2: '
            "expected a whole number from 1 to 65536, found 0",
            'benchmark "cnn": matrix.dense: expected a list of one or more different whole '
            "numbers, found an empty list",
            'benchmark "tuned": head_from: expected the name of a bottleneck benchmark, '
            'found "bottleneck" (known: cnn, tuned)',
            'benchmark "tuned": optimizer.momentum: expected only what adam uses, '
            'found momentum = 0.9 ("sgd" uses it)',
            "benchmark 3: name: expected up to 80 letters, digits, '.', '_' or '-', "
            "the first a letter or digit, found nothing",
            f'benchmark 3: strategy: expected {kinds}, found "bottlneck" '
            '(did you mean "bottleneck"?)',
            'profile "cpu": benchmarks, item 1: expected the name of a benchmark of this suite, '
            'found "cnnn" (did you mean "cnn"?)',
            f'profile "cpu": dataset.source: expected {sources}, found "flatt" '
            '(did you mean "flat"?)',
            'profile "cpu": benchmark "cnn": image_size: '
            "expected a whole number from 8 to 1024, found 4",
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + CNN, "dataset: expected a table, found nothing"),
        (
            PETS + CNN + 'trials = "atuo"\n',
            'benchmark "cnn": trials: expected a whole number from 1 to 1000 or "auto", '
            'found "atuo" (did you mean "auto"?)',
        ),
        (
            'trials = "3"\n' + PETS + CNN,
            'trials: expected a whole number from 1 to 1000 or "auto", '
            'found "3" (write it without quotes)',
        ),
        (
            "trials = true\n" + PETS + CNN,
            'trials: expected a whole number from 1 to 1000 or "auto", found true',
        ),
        (PETS, "benchmark: expected a list of one or more tables, found nothing"),
        (
            PETS + CNN.replace("[[benchmark]]", "[benchmark]"),
            "benchmark: expected a list of one or more tables, found a table "
            "(write [[benchmark]], with two brackets)",
        ),
        (
            PETS + CNN + "[[profiles.cpu]]\ntrials = 1\n",
            'profile "cpu": expected a table, found [a table] '
            "(write [profiles.cpu], with one bracket)",
        ),
        (
            PETS + CNN + CNN,
            'benchmark "cnn": name: expected a unique name, found that of an earlier benchmark',
        ),
        (
            PETS + CNN.replace("cnn", "a/b", 1),
            "benchmark \"a/b\": name: expected up to 80 letters, digits, '.', '_' or '-', "
            'the first a letter or digit, found "a/b"',
        ),
        (
            PETS + CNN + "batch_size = 1979-05-27\n",
            'benchmark "cnn": batch_size: '
            "expected a whole number from 1 to 65536, found a date or time",
        ),
        (
            PETS + CNN + "batch_size = true\n",
            'benchmark "cnn": batch_size: expected a whole number from 1 to 65536, found true',
        ),
        (
            PETS + CNN + "target_top1 = nan\n",
            'benchmark "cnn": target_top1: expected a number from 0 to 1, found nan',
        ),
        (
            PETS + CNN + "matrix = {}\n",
            'benchmark "cnn": matrix: expected a table of one or more keys, found an empty table',
        ),
        (
            PETS + CNN + "matrix = { batch_size = [5, 5] }\n",
            'benchmark "cnn": matrix.batch_size: '
            "expected a list of one or more different whole numbers, found [5, 5]",
        ),
        (
            PETS + CNN + "[regression]\ncolumns = ['epoch_s', 'epoch_s']\n",
            "regression.columns: expected a list of one or more different",
        ),
        (
            PETS + CNN + "matrix = { strategy = [1] }\n",
            'benchmark "cnn": matrix.strategy: expected a known key, found an unknown one',
        ),
        (
            PETS + CNN + f"matrix = {{ batch_size = {list(range(1, 41))}, "
            f"epochs = {list(range(1, 41))} }}\n",
            'benchmark "cnn": matrix: expected at most 1000 combinations, found 1600',
        ),
        (
            PETS + "[weights]\nvgg19 = 'a'\n" + CNN,
            'weights.vgg19: expected a known key, found an unknown one (did you mean "vgg16"?)',
        ),
        (
            PETS + "[backend.keras-jax]\noptions = { engine = ['jax'] }\n" + CNN,
            'backend "keras-jax": options.engine: '
            'expected text, a number, true or false, found ["jax"]',
        ),
        (
            PETS + CNN + "published = { top1 = 91.9 }\n",
            'benchmark "cnn": published.top1: expected a number from 0 to 1, found 91.9',
        ),
    ],
)
def test_mistake_is_told_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake is one problem: where, what was expected, what was found, the remedy."""
    problems = problems_of(tmp_path, text)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "where", "home"),
    [
        (CNN + "momentum = 0.9\n", 'benchmark "cnn": momentum', "optimizer"),
        (CNN + "zoom = 0.2\n", 'benchmark "cnn": zoom', "augmentation"),
        ("drift = 0.1\n" + CNN, "dataset.drift", "regression"),
        (CNN + "[defaults]\nlr = 0.1\n", "defaults.lr", "optimizer"),
        ("requirements = ['torch']\n" + CNN, "dataset.requirements", "backend.NAME"),
    ],
)
def test_misplaced_key_is_told_where_it_belongs(
    tmp_path: Path, text: str, where: str, home: str
) -> None:
    """A key of another table is no misspelt key of this one."""
    key = where.replace(".", " ").split()[-1]

    assert problems_of(tmp_path, PETS + text) == [
        f"{where}: expected a known key, found an unknown one ({key} belongs in {home})"
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (CNN + "optimizer = { name = 'sgd', nesterov = true }\n", "cnn optimizer.momentum"),
        (CNN + "optimizer = { name = 'sgd', rho = 0.5 }\n", "cnn optimizer.rho"),
        (CNN + "optimizer = { momentum = 0.5 }\n", "cnn optimizer.momentum"),
        (BOTTLENECK + "image_size = 31\n", "bottleneck image_size"),
        (BOTTLENECK + "augmentation = { zoom = 0.2 }\n", "bottleneck augmentation"),
        (BOTTLENECK + FINE_TUNE + "image_size = 96\n", "fine_tune image_size"),
        (BOTTLENECK + FINE_TUNE + "dense = 96\n", "fine_tune dense"),
        (BOTTLENECK + FINE_TUNE + "output = 'softmax'\n", "fine_tune output"),
        (BOTTLENECK + FINE_TUNE + "weights = 'random'\n", "fine_tune weights"),
        (BOTTLENECK + FINE_TUNE + "preprocessing = 'standard'\n", "fine_tune preprocessing"),
        (BOTTLENECK + FINE_TUNE + "matrix = { dense = [1024, 512] }\n", "fine_tune dense"),
        (BOTTLENECK + "matrix = { dense = [1024] }\n" + FINE_TUNE, "fine_tune head_from"),
        (BOTTLENECK + "backends = ['torch']\n" + FINE_TUNE, "fine_tune backends"),
        (CNN + FINE_TUNE.replace('"bottleneck"', '"cnn"'), "fine_tune head_from"),
        (FINE_TUNE, "fine_tune head_from"),
        (
            BOTTLENECK + FINE_TUNE + "reuse_frozen = true\ntrainable = 'all'\n",
            "fine_tune reuse_frozen",
        ),
        (
            BOTTLENECK + FINE_TUNE + "reuse_frozen = true\naugmentation = { crop = 0.1 }\n",
            "fine_tune augmentation",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_a_problem(
    tmp_path: Path, text: str, where: str
) -> None:
    """A clash is told once, under the benchmark and the key to change."""
    problems = problems_of(tmp_path, PETS + text)

    name, key = where.split()
    assert len(problems) == 1
    assert problems[0].startswith(f'benchmark "{name}": {key}: expected ')


def test_clash_that_only_a_profile_brings_is_told_under_the_profile(tmp_path: Path) -> None:
    """Two benchmarks that agree without a profile are still compared under each."""
    text = PETS + BOTTLENECK + FINE_TUNE + "[profiles.cpu.benchmark.bottleneck]\ndense = 8\n"

    problems = problems_of(tmp_path, text)

    assert problems == [
        'profile "cpu": benchmark "fine_tune": dense: expected 8 as in benchmark "bottleneck", '
        "found 1024 (head_from takes its head, which fits only the same network)"
    ]


def test_profile_value_that_a_matrix_would_hide_is_a_problem(tmp_path: Path) -> None:
    """A profile cannot set a key for a benchmark whose matrix goes on varying it."""
    text = PETS + CNN + "matrix = { batch_size = [1, 2] }\n[profiles.cpu.benchmark.cnn]\n"

    problems = problems_of(tmp_path, text + "batch_size = 5\n")

    assert problems == [
        'profile "cpu": benchmark "cnn": batch_size: '
        "expected no value (the matrix sets it), "
        "found a value (write matrix = {} beside it to remove the matrix)"
    ]
    assert suite_of(tmp_path, text + "batch_size = 5\nmatrix = {}\n").profiles.keys() == {"cpu"}


def test_mistake_in_a_value_does_not_raise_a_false_clash(tmp_path: Path) -> None:
    """What depends on a value that is itself wrong is not reported beside it."""
    text = PETS + BOTTLENECK + "imagesize = 96\n" + FINE_TUNE + "image_size = 96\n"

    problems = problems_of(tmp_path, text)

    assert problems == [
        'benchmark "bottleneck": imagesize: expected a known key, found an unknown one '
        '(did you mean "image_size"?)'
    ]


@pytest.mark.parametrize(
    "text",
    [
        '"a\\nb\\u001b[31m" = 1\n',
        'backends = ["x\\ny"]\n',
        'head_from = "x\\ny"\n[[benchmark]]\nname = "x\\nz"\nstrategy = "bottleneck"\n',
        '[profiles."a\\nb".benchmark]\n"\\n" = []\n',
    ],
)
def test_names_from_the_file_cannot_break_a_line(tmp_path: Path, text: str) -> None:
    """Line ends and control characters in keys and values do not reach the message."""
    problems = problems_of(tmp_path, PETS + CNN + text)

    assert all(problem.isprintable() for problem in problems)


def test_paths_are_relative_to_the_suite_file(tmp_path: Path) -> None:
    """A written path means a place beside the suite; an absolute one means itself."""
    suite = suite_of(tmp_path, PETS + "path = '../pets'\n[weights]\nvgg16 = '/w.st'\n" + CNN)

    assert suite.dataset.path == "../pets"
    assert suite.resolve_path("../pets") == tmp_path / "../pets"
    assert suite.resolve_path(suite.weights["vgg16"]) == Path("/w.st")
    assert suite.resolve_path("~/pets") == Path.home() / "pets"
