"""The documentation tells the truth: its commands run, its TOML loads, its Python works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import test_sabotage
from documents import DOCUMENTS, ROOT, Block, blocks, commands_of
from in_process import Commands
from PIL import Image
from wheels import shelf_variables, write_shelf

from benchharness.results.columns import CELL, COUNTS, EPOCH, METRICS, ORIGIN, PUBLISHED, TRIAL
from benchharness.suite.load import load
from benchharness.suite.resolve import resolve
from benchharness.testing.check import BACKEND_CLAUSES, title
from benchharness.testing.scaffold import TEMPLATE

pytestmark = pytest.mark.slow

LANGUAGES = {"sh", "toml", "python", "text", "yaml"}
OWN_SUITE = next(block.text for block in blocks("toml") if 'name = "mine"' in block.text)
# What the tests add, so that a documented run takes seconds.
BACKEND, PROFILE = ["--backend", "numpy"], ["--profile", "smoke"]
PYTEST = ("pytest", "pytest-benchmark")

# Words of a user's shell that set something up, checked by other means below.
SET_UP = ("make", "export", "python3", ".venv/bin/pip", "pip", "cd", "git", "tools/gpu_first.sh")


def of_authors(command: str) -> bool:
    """Whether a command is of the guide for authors, which test_plugin_new walks in its order."""
    return "mine" in shlex.split(command)


def has_processes(words: list[str]) -> bool:
    """Whether a command's workers differ from its own process: by revision or interpreter."""
    is_of_two = any("two_torches" in word for word in words)
    return words[1] in ("compare", "noise", "env", "plugin") or is_of_two


@pytest.fixture(scope="module")
def commands(desk: Path) -> Iterator[Commands]:
    """A process that carries out one documented command after the other."""
    process = Commands(environment_in(desk))
    yield process
    process.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a newcomer's folder: the suites, a suite of their own, pictures, a recorded run."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "suites", folder / "suites")
    _stand_in(folder / "suites/two_torches.toml", shelf=folder / "shelf")
    (folder / "mine.toml").write_text(OWN_SUITE, encoding="utf-8")
    for label, name in enumerate(("my cats", "my dogs")):
        for place in ("photos", "my_folder"):
            classes = folder / place / name
            classes.mkdir(parents=True)
            for number in range(12):
                colour = (20 * number, 90 * label, 200 - 10 * number)
                Image.new("RGB", (40 + number, 36), colour).save(classes / f"{number}.jpg")
    for suite in ("suites/smoke.toml", "suites/cats_dogs.toml"):
        run_in(folder, shortened(f"benchharness run {suite}"))
    run_in(folder, shlex.split("benchharness env sync suites/two_torches.toml"))
    return folder


def _stand_in(suite: Path, *, shelf: Path) -> None:
    """Let a small package stand for the framework of which a suite wants two versions."""
    write_shelf(shelf)
    text = suite.read_text(encoding="utf-8").replace('plugin = "torch"', 'plugin = "slowpoke"')
    for own, stand_in in (("torch==2.13.*", "1.*"), ("torch==2.15.*", "2.*")):
        wanted = f'"benchharness-slowpoke", "slowpoke-helper=={stand_in}"'
        text = text.replace(f'"{own}"', wanted)
    suite.write_text(text, encoding="utf-8")


def run_in(
    folder: Path, command: list[str], *, codes: tuple[int, ...] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Carry out a command as its user would, without a network; it must end with such a code."""
    # What noise finds in six pairs of trials of milliseconds would have compare refuse its limits.
    environment = environment_in(
        folder, cache="cache_of_noise" if command[1] == "noise" else "cache"
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode in codes, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def environment_in(folder: Path, *, cache: str = "cache") -> dict[str, str]:
    """Return the environment of a user who has neither data nor network."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BENCHHARNESS_CACHE": str(folder / cache),
        "BENCHHARNESS_OFFLINE": "1",
        **shelf_variables(folder / "shelf"),
    }
    for name in ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS"):
        environment.pop(name, None)
    return environment


def shortened(command: str) -> list[str]:
    """Return a documented command of ours, small enough for a test."""
    words = shlex.split(command)
    if words[1] == "compare":
        return shortened_comparison(words)
    if words[1] == "noise":
        backend = words.index("--backend") if "--backend" in words else len(words)
        # Steps that are long enough to be timed take NumPy minutes.
        words = [word.replace("suites/ci.toml", "suites/smoke.toml") for word in words[:backend]]
        return [*words, *BACKEND, "--benchmark", "feed", "--pairs", "6"]
    if words[1] not in ("run", "certify") or "--dry-run" in words:
        return words
    has_profile = not {"--profile", "mine.toml", "suites/smoke.toml"} & set(words)
    options = [*(PROFILE if has_profile else []), *([] if "--backend" in words else BACKEND)]
    if "suites/smoke.toml" in words and "--resume" not in words:
        options += ["--benchmark", "feed"]
    if "suites/cats_dogs.toml" in words and "--benchmark" not in words:
        # VGG16 in NumPy takes minutes; other tests run it in frameworks.
        options += ["--benchmark", "dataset", "--benchmark", "simple_cnn"]
    return [*words, *options]


def shortened_comparison(words: list[str]) -> list[str]:
    """Return a documented comparison, both sides by the backend that needs no framework.

    Revisions are those of the folder that these tests are from, as its files lie.
    """
    named = ["rev:." if word.startswith("rev:") else word for word in words]
    named = [re.sub(r"^(smoke@)?(keras|torch)$", r"\g<1>numpy", word) for word in named]
    if not any(word.endswith(".toml") for word in words):
        return named
    backend = [] if "numpy" in named else BACKEND
    few = ["--benchmark", "feed", "--pairs", "6", "--no-proof", "--repository", str(ROOT)]
    return [*named, *backend, *few]


def timed_by_numpy(words: list[str]) -> list[str]:
    """Return a documented session that compares itself with an equal one, in seconds."""
    if words[0] != "pytest":
        return words
    chosen = [word.replace("-torch", "-numpy") for word in words]
    lenient = [re.sub(r"(--benchmark-compare-fail=\w+):.*", r"\1:9999%", word) for word in chosen]
    options = ["--benchharness-backend", "numpy", "-p", "no:hypothesispytest"]
    if "--against" in words or "suites/ci.toml" in words:
        # tests/test_pytest_plugin_*.py measure; here is no repository, and no time.
        return [*words, *options, "--collect-only"]
    is_chosen = "-k" in words or any("::" in word for word in words)
    return [*lenient, *options, *([] if is_chosen else ["-k", "smoke and feed"])]


def test_every_block_says_its_language():
    """What is not marked is not checked."""
    for document in DOCUMENTS:
        fences = re.findall(r"^```(.*)$", document.read_text(encoding="utf-8"), re.M)

        assert [fence.split()[0] for fence in fences[::2] if fence] and set(fences[1::2]) <= {""}
        assert {fence.split()[0] for fence in fences[::2]} <= LANGUAGES, document


@pytest.mark.parametrize(
    "command", [line for line in commands_of("benchharness") if not of_authors(line)]
)
def test_documented_command_runs(desk: Path, commands: Commands, command: str):
    """As it stands, but for a smaller profile and the backend that needs no framework."""
    if "rev:" in command and not (ROOT / ".git").exists():
        pytest.skip("needs a repository")
    # Whether a busy machine finds two sides different is not for the documentation to say.
    codes = (0, 3, 4) if "compare" in shlex.split(command) else (0,)
    words = shortened(command)
    if has_processes(words):
        done = run_in(desk, words, codes=codes)
    else:
        done = commands.run(words[1:], folder=desk)
        assert done.returncode in codes, f"{command}\n{done.stdout}\n{done.stderr}"

    assert done.stdout.strip()


@pytest.mark.parametrize("command", [line for name in PYTEST for line in commands_of(name)])
def test_documented_session_passes(desk: Path, command: str):
    """As it stands, in its order, but for what would take long or depends on the machine's mood."""
    done = run_in(desk, timed_by_numpy(shlex.split(command)))

    assert done.stdout.strip()


def test_documented_ini_keys_exist(pytestconfig: pytest.Config):
    """Pytest refuses to tell the value of one that nobody has added."""
    tables = [tomllib.loads(block.text) for block in blocks("toml") if block.kind == "ini"]
    keys = [key for table in tables for key in table["tool"]["pytest"]["ini_options"]]

    assert keys
    for key in keys:
        pytestconfig.getini(key)  # raises ValueError where nobody has added it


def test_documented_commands_are_only_of_programs_that_are_checked():
    """A program that no test knows could say anything."""
    programs = {shlex.split(line)[0] for block in blocks("sh") for line in block.commands()}

    assert programs <= {"benchharness", ".venv/bin/benchharness", *PYTEST, *SET_UP}


@pytest.mark.parametrize("command", commands_of("make"))
def test_documented_target_exists(command: str):
    """Make knows what it would have to do; the targets themselves are what runs this test."""
    if shutil.which("make") is None:
        pytest.skip("needs make")

    done = subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()


def test_documented_extras_exist():
    """What pip is told to install with us can be installed with us."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    named = set(re.findall(r"benchharness\[([a-z,]+)\]", text))

    assert {extra for group in named for extra in group.split(",")} <= set(
        project["optional-dependencies"]
    )


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_documented_toml_is_a_suite(tmp_path: Path, block: Block):
    """Whole ones load and resolve under each profile; fragments do beside a suite of one's own."""
    if block.kind == "ini":
        pytest.skip("an ini file, checked as one")
    if block.kind == "pyproject":
        assert tomllib.loads(block.text)["project"]["entry-points"]["benchharness"]
        return
    if block.kind == "cluster":
        assert tomllib.loads(block.text)["cluster"]
        return
    text = f"{OWN_SUITE}\n{block.text}" if block.kind == "fragment" else block.text
    file = tmp_path / "suite.toml"
    file.write_text(text, encoding="utf-8")

    suite = load(file)

    assert all(resolve(suite, profile=profile).cells for profile in [None, *suite.profiles])


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_documented_python_works(desk: Path, block: Block):
    """Beside a recorded run, as the text supposes; tests in a session of their own."""
    if block.kind == "test":
        (desk / "test_documented.py").write_text(block.text, encoding="utf-8")
        run_in(desk, ["pytest", "test_documented.py"])
        return
    run_in(desk, [sys.executable, "-c", block.text])


def test_links_between_documents_lead_somewhere():
    """A file that is not there helps nobody."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("name", ["run", "compare", "noise", "env"])
def test_every_option_is_documented(name: str):
    """An option that nobody can find is not there."""
    command = import_module(f"benchharness.cli.{name}_command").command

    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    commands = getattr(command, "commands", {name: command}).values()
    options = [
        max(option.secondary_opts or option.opts, key=len)
        for one in commands
        for option in one.params
        if option.param_type_name == "option"
    ]

    missing = [name for name in options if name not in text]
    assert not missing


def test_every_column_is_documented_as_it_is():
    """The page on results is read by those who write programs."""
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    groups = (CELL, TRIAL, METRICS, ORIGIN, EPOCH, COUNTS, PUBLISHED)

    missing = [
        column.name
        for group in groups
        for column in group
        if f"| `{column.name}` | {column.unit} | {column.meaning} |" not in text
    ]
    assert not missing


def test_every_planted_fault_is_listed_with_what_names_it():
    """The page on fairness has a row for each plant, with the words that its test demands."""
    plants: dict[str, Any] = {}
    exec(test_sabotage.SABOTEUR, plants)
    names = {*plants["TASKS"], *plants["EPOCHS"], *plants["TRAININGS"], "flatten"}
    demanded = test_sabotage.CAUSES | test_sabotage.FAULTS_OF_SPEED
    text = (ROOT / "docs/fairness.md").read_text(encoding="utf-8")
    # Of several rows the first is that of the proof.
    rows = dict(reversed(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M)))
    clauses = {clause.clause: title(clause) for clause in BACKEND_CLAUSES}

    assert rows.keys() == names | test_sabotage.FAULTS_OF_SPEED.keys()
    assert not [name for name, words in demanded.items() if words not in rows[name]]
    assert not [
        name
        for name, clause in test_sabotage.CLAUSES.items()
        if not rows[name].endswith(f"| {clauses[clause]}")
    ]


def test_every_module_of_a_new_plugin_is_on_the_page_of_the_contract():
    """An author finds why each is to be written, or what is missing without it."""
    text = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
    (package,) = TEMPLATE.glob("benchharness_*")
    modules = {file.name for file in package.glob("*.py")} - {"__init__.py"}

    assert {name for name in modules if f"`{name}`" not in text} == set()
