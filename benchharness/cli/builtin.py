"""Built-in suite, which runs where the user names pictures and no suite."""

from __future__ import annotations

from pathlib import Path

import click

from benchharness.files import unwritten


def builtin_suite(data: Path | None) -> Path:
    """Return the built-in suite.

    Args:
        data: The user's pictures.

    Raises:
        click.UsageError: There are none: nothing says what to run.
    """
    from benchharness.suite.builtin import IMAGES

    if data is None:
        raise click.UsageError(
            "expected a suite, or --data DIR with a folder of pictures for each class; found "
            "neither (benchharness list shows the suites here)"
        )
    return IMAGES


def write_copy(path: Path) -> None:
    """Write the built-in suite to a new file, and print how to run it.

    Raises:
        click.BadParameter: The file is there already, or cannot be written.
    """
    from benchharness.suite.builtin import IMAGES

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(IMAGES.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(
            f"{path}: expected to write a new file, found: {unwritten(error)}",
            param_hint="--write-suite",
        ) from error
    click.echo(f"{path} written; run it: benchharness run {path} --data DIR")
