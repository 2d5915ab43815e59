"""``benchharness data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from benchharness.cli import options
from benchharness.cli.disable import disable_plugin
from benchharness.cli.saying import say

if TYPE_CHECKING:
    from benchharness.run.inputs import RunInputs
    from benchharness.run.options import RunOptions

F = TypeVar("F", bound=Callable[..., int])


@click.group("data")
def command() -> None:
    """Fetch and decode what a suite reads, or check that it is whole."""


def _on_suite(function: F) -> F:
    """Give a command the arguments that tell what a suite would read."""
    told = (
        click.argument("suite", type=options.PATH),
        click.option("--profile", help="As for run; chosen for this machine by default."),
        options.data,
        disable_plugin,
    )
    for option in reversed(told):
        function = option(function)
    return function


@command.command("prepare")
@_on_suite
@options.offline
def prepare(*, suite: Path, profile: str | None, data: Path | None, offline: bool) -> int:
    """Make everything ready that a run of SUITE would read, and run nothing.

    Photographs and weights are fetched where they have a public home and are not on this machine;
    images are decoded, weights converted. A run then begins at once, and needs no network.

    Exit codes: 0 all is ready; 1 something is not to be had; 2 the request could not be
    understood.
    """
    from benchharness.progress import watch
    from benchharness.run.session import open_session
    from benchharness.run.session import prepare as prepare_inputs

    request = _request(suite, profile=profile, data=data, offline=offline)
    with watch() as observe:
        inputs = prepare_inputs(open_session(request, observe=observe), observe)
    for line in _ready(inputs):
        say(line)
    return 0


@command.command("verify")
@_on_suite
def verify(*, suite: Path, profile: str | None, data: Path | None) -> int:
    """Check that everything a run of SUITE would read is there and whole.

    Downloads are held against their digests; every image is decoded and held against its prepared
    form; weights are read. Nothing is fetched.

    Exit codes: 0 all is whole; 1 something is damaged or missing, a line for each with its remedy;
    2 the request could not be understood.
    """
    from benchharness.progress import watch
    from benchharness.run.inputs import verify_inputs
    from benchharness.run.session import open_session

    is_whole = True
    with watch() as observe:
        session = open_session(_request(suite, profile=profile, data=data, offline=True))
        for verdict in verify_inputs(session.plan, places=session.places, observe=observe):
            is_whole &= not verdict.damages
            state = f"DAMAGED ({len(verdict.damages)})" if verdict.damages else "ok"
            say(f"{state}: {verdict.what}")
            for damage in verdict.damages:
                say(f"error: {damage}", err=True)
    return 0 if is_whole else 1


def _request(suite: Path, *, profile: str | None, data: Path | None, offline: bool) -> RunOptions:
    from benchharness.run.options import RunOptions

    return RunOptions(suite=suite, profile=profile, data=data, offline=offline)


def _ready(materials: RunInputs) -> list[str]:
    """Return what is ready, how large it is and where, a line each."""
    cells = materials.plan.cells
    # Those with another validation split were found decoded; the first says how long it took.
    every = sorted(map(materials.prepared, cells), key=lambda found: found.seconds)
    prepared = {found.folder: found for found in every}
    lines = [
        f"images of {found.images.shape[1]} px: {len(found.images):,}, "
        f"{found.images.nbytes / 1e6:,.1f} MB in {folder}"
        + (f", decoded in {found.seconds:.1f} s" if found.seconds else ", already decoded")
        for folder, found in prepared.items()
    ]
    weights = {one.path: one for one in map(materials.pretrained, cells) if one and one.path}
    lines += [
        f"weights of {one.backbone}, release {one.release}, for {one.preprocessing} inputs: "
        f"{path.stat().st_size / 1e6:,.1f} MB in {path}"
        for path, one in weights.items()
        if path
    ]
    return lines
