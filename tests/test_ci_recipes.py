"""The recipes for CI are valid, and every command in them exists and knows its options."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from documents import ROOT, blocks

from benchharness.cli import cli
from benchharness.suite.load import load

OWN = ROOT / ".github" / "workflows" / "ci.yml"
WORKFLOWS = {
    OWN.name: OWN.read_text(encoding="utf-8"),
    **{str(block): block.text for block in blocks("yaml") if block.kind == "workflow"},
}
GITLAB = {str(block): block.text for block in blocks("yaml") if block.kind == "gitlab"}
# Programs that every runner has, or that the step before installs.
PROGRAMS = {
    *("benchharness", "pytest", "pip", "make", "python3", "git", "gh"),
    *("cat", "echo", "exit", "[", "fi"),
}
# Those of the shell itself, which need no stand-in.
SHELL = {"git", "cat", "echo", "exit", "[", "fi"}
ASSIGNMENT = re.compile(r"[A-Za-z_]+=")
JOB_KEYS = {
    *("name", "runs-on", "timeout-minutes", "strategy", "steps", "env", "if", "needs"),
    "permissions",
}
STEP_KEYS = {"name", "uses", "with", "run", "env", "if"}


class Strict(yaml.SafeLoader):
    """A loader for which a key that stands twice is an error, as it is for GitHub."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in one mapping: {keys}"
        return super().construct_mapping(node, deep)


def read(text: str) -> dict[Any, Any]:
    """Return what a YAML text says."""
    content = yaml.load(text, Loader=Strict)
    assert isinstance(content, dict)
    return content


def jobs_of(text: str) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow."""
    return read(text)["jobs"]


def scripts() -> Iterator[tuple[str, str]]:
    """Yield every script of every recipe with where it stands."""
    for name, text in WORKFLOWS.items():
        for job in jobs_of(text).values():
            yield from ((name, step["run"]) for step in job["steps"] if "run" in step)
    for name, text in GITLAB.items():
        for job in read(text).values():
            yield name, "\n".join(job["script"])


def commands(script: str) -> Iterator[list[str]]:
    """Yield the simple commands of a script, GitHub's expressions replaced by a word."""
    plain = re.sub(r"\$\{\{.*?\}\}", "3.12", script).replace("\\\n", " ")
    for line in plain.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in (";", "&&", "||", "|", "then", "if", "else"):
                if words:
                    yield words
                words = []
            elif words or not ASSIGNMENT.match(word):
                words.append(word)


def named(program: str) -> list[list[str]]:
    """Return the arguments of every call of a program, redirections left out."""
    found = [words for _, script in scripts() for words in commands(script)]
    return [
        words[1 : words.index(">>") if ">>" in words else None]
        for words in found
        if Path(words[0]).name == program
    ]


def own_calls(command: str) -> list[list[str]]:
    """Return the arguments of every call of a command of ours in this repository's workflow."""
    calls = [words for name, script in scripts() if name == OWN.name for words in commands(script)]
    return [words[1:] for words in calls if words[1:2] == [command]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_has_the_shape_that_github_takes(name: str):
    """Triggers, jobs on runners, steps that either use an action or run something."""
    content = read(WORKFLOWS[name])

    # YAML 1.1 reads the key `on` as true.
    assert content.get("on", content.get(True))
    for job in content["jobs"].values():
        assert set(job) <= JOB_KEYS
        assert job["runs-on"]
        assert {job["needs"]} <= set(content["jobs"]) if "needs" in job else True
        for step in job["steps"]:
            assert set(step) <= STEP_KEYS
            assert ("uses" in step) != ("run" in step)
            assert "with" not in step or "uses" in step
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_reads_what_it_uploads(name: str):
    """An artifact that is downloaded was uploaded under that name."""
    steps = [step for job in jobs_of(WORKFLOWS[name]).values() for step in job["steps"]]

    def artifacts(action: str) -> set[str]:
        return {step["with"]["name"] for step in steps if step.get("uses", "").startswith(action)}

    assert artifacts("actions/download-artifact") <= artifacts("actions/upload-artifact")


@pytest.mark.parametrize("name", GITLAB)
def test_gitlab_job_has_a_script(name: str):
    """And files that the script writes."""
    for job in read(GITLAB[name]).values():
        script = "\n".join(job["script"])

        assert job["image"]
        assert job["artifacts"]["reports"]["junit"] in script


def test_there_are_recipes():
    """Of each kind: a test over none would say nothing."""
    assert len(WORKFLOWS) >= 4
    assert GITLAB


def test_every_script_is_one_that_bash_understands():
    """Quotes and conditions end where they should."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    for name, script in scripts():
        plain = re.sub(r"\$\{\{.*?\}\}", "word", script)
        done = subprocess.run([bash, "-n"], input=plain, text=True, capture_output=True)

        assert done.returncode == 0, f"{name}: {done.stderr}"


# Stands in for every program that a recipe calls: it notes the call, leaves what the call writes,
# and ends with the code that CODES has for the command.
STUB = """#!/bin/sh
name=$(basename "$0")
echo "$name $*" >> "$CALLS"
for word in "$@"; do
    case "$last" in --markdown | --junit-xml | --html) echo written > "$word" ;; esac
    last=$word
done
for code in $CODES; do
    if [ "${code%=*}" = "$1" ]; then exit "${code#*=}"; fi
done
"""


def run_script(script: str, folder: Path, **codes: str) -> tuple[int, list[str], str]:
    """Run a recipe's script as its runner does, its programs replaced by stand-ins.

    Returns:
        Exit code, the calls and the summary of the run.
    """
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in ("benchharness", "pytest", "pip", "gh", "make", "python3"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    calls, summary = folder / "calls", folder / "summary"
    calls.touch()
    variables = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "GITHUB_STEP_SUMMARY": str(summary),
        "BASE": "abc",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abc",
        "NUMBER": "7",
        "STORAGE": str(folder / "storage"),
        "CODES": " ".join(f"{command}={code}" for command, code in codes.items()),
    }
    plain = re.sub(r"\$\{\{.*?\}\}", "3.12", script)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", plain],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    said = (summary.read_text() if summary.exists() else "") + done.stdout
    return done.returncode, calls.read_text().splitlines(), said


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("name", "script"), [*scripts()])
def test_every_script_runs(name: str, script: str, tmp_path: Path):
    """From its first command to its last, where nothing got slower."""
    code, calls, _ = run_script(script, tmp_path)

    expected = sum(1 for words in commands(script) if Path(words[0]).name not in SHELL)
    conditional = "if [" in script
    assert code == 0, name
    assert len(calls) == expected or (conditional and len(calls) < expected)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("compared", "code"), [("0", 0), ("1", 1), ("2", 2), ("3", 3), ("4", 0)])
def test_what_compare_says_decides_the_job(compared: str, code: int, tmp_path: Path):
    """Undecidable warns, the rest fails, and the table is in the summary each time."""
    hosted = [script for name, script in scripts() if "GITHUB_STEP_SUMMARY" in script]

    for number, script in enumerate(hosted):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, calls, said = run_script(script, folder, compare=compared)

        assert any(call.startswith("benchharness compare rev:") for call in calls)
        assert (done, "written" in said) == (code, True)
        assert ("::warning::" in said) == (compared == "4")
    assert len(hosted) == 2


def test_gitlab_takes_undecidable_for_a_warning():
    """Exit code 4 of the job whose last command compares."""
    for text in GITLAB.values():
        (job,) = [job for job in read(text).values() if "benchharness compare" in job["script"][-1]]

        assert job["allow_failure"] == {"exit_codes": 4}


def test_only_known_programs_are_called():
    """One that no test knows could be called in any way."""
    found = {Path(words[0]).name for _, script in scripts() for words in commands(script)}

    assert found <= PROGRAMS
    assert {"benchharness", "pytest", "make"} <= found


@pytest.mark.parametrize("arguments", named("benchharness"), ids=" ".join)
def test_our_command_understands_its_options(arguments: list[str], monkeypatch):
    """Names and values, as the command line itself reads them."""
    monkeypatch.chdir(ROOT)
    command = cli.get_command(click.Context(cli), arguments[0])

    assert command is not None
    # Raises for an option that is unknown, lacks its value, or cannot take it; runs nothing.
    command.make_context(arguments[0], arguments[1:])


def test_misspelt_option_would_be_found():
    """The test above sees what it should."""
    command = cli.get_command(click.Context(cli), "compare")
    assert command is not None

    with pytest.raises(click.NoSuchOption):
        command.make_context("compare", ["rev:a", "rev:b", "--markdwon", "x"])


def test_own_workflow_compares_a_suite_that_says_what_counts():
    """The suite is there, loads, and its limit is half of the change that it is to find."""
    (suite,) = {words[words.index("--suite") + 1] for words in own_calls("compare")}

    regression = load(ROOT / suite).regression

    assert regression is not None
    assert regression.threshold == 0.05


@pytest.mark.parametrize("arguments", named("make"), ids=" ".join)
def test_target_exists(arguments: list[str]):
    """Make knows what it would have to do."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_pytest_knows_the_options_that_are_given_to_it():
    """With pytest-benchmark and our own plugin in it."""
    words = [word for arguments in named("pytest") for word in arguments if word.startswith("--")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, cwd=ROOT
    )

    for word in words:
        assert re.search(rf"^  {word.partition('=')[0]}\b", done.stdout, re.M), word


def test_own_workflow_tests_every_python_and_every_concern():
    """Lint, types, tests, a comparison with the base, and what is kept of it."""
    jobs = jobs_of(OWN.read_text(encoding="utf-8"))
    text = "\n".join(script for name, script in scripts() if name == OWN.name)

    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    for words in ("make lint", "make type", "make full", "benchharness compare", "gh pr comment"):
        assert words in text
    # Only the job that comments may write, and only there.
    assert read(OWN.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs.items() if "permissions" in job] == ["comment"]
    # Both revisions have to be in the checkout.
    (checkout,) = [s for s in jobs["compare"]["steps"] if "checkout" in s.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0
