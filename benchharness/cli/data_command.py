"""``benchharness data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchharness.cli import options
from benchharness.cli.streams import echo


@click.group("data")
def command() -> None:
    """Download and decode the data of a suite, or verify it."""


@command.command("prepare")
@options.suite
@options.profile
@options.data
@options.disable_plugin
@options.offline
def prepare(*, suite: Path, **others: Any) -> int:
    """Download, decode and convert everything that a run of SUITE reads; run nothing.

    Photographs and weights with a public address are downloaded unless they are on this machine. A
    run then starts at once, and needs no network.

    Exit codes: 0 all is ready; 1 data or weights are unavailable; 2 invalid suite or
    options.
    """
    from benchharness.progress import watch
    from benchharness.run.options import RunOptions
    from benchharness.run.session import open_session, prepare_inputs

    with watch() as observe:
        session = open_session(RunOptions(suite=suite, **others), observe=observe)
        inputs = prepare_inputs(session, observe)
    cells = inputs.plan.cells
    # Those with another validation split were already decoded; the first says how long it took.
    every = sorted(map(inputs.prepared, cells), key=lambda prepared: prepared.seconds)
    for prepared in {prepared.folder: prepared for prepared in every}.values():
        images, seconds = prepared.images, prepared.seconds
        decoded = f"decoded in {seconds:.1f} s" if seconds else "already decoded"
        echo(
            f"images of {images.shape[1]} px: {len(images):,}, {images.nbytes / 1e6:,.1f} MB in "
            f"{prepared.folder}, {decoded}"
        )
    for pretrained in dict.fromkeys(map(inputs.pretrained, cells)):
        if pretrained and (path := pretrained.path):
            echo(
                f"weights of {pretrained.backbone}, release {pretrained.release}, for "
                f"{pretrained.preprocessing} inputs: {path.stat().st_size / 1e6:,.1f} MB in {path}"
            )
    return 0


@command.command("verify")
@options.suite
@options.profile
@options.data
@options.disable_plugin
def verify(*, suite: Path, **others: Any) -> int:
    """Verify everything that a run of SUITE reads.

    Downloads are compared with their digests; every image is decoded and compared with its prepared
    form; weights are read. Nothing is fetched.

    Exit codes: 0 all is whole; 1 something is damaged or missing, a line for each with its remedy;
    2 invalid suite or options.
    """
    from benchharness.progress import watch
    from benchharness.run.inputs import verify_inputs
    from benchharness.run.options import RunOptions
    from benchharness.run.session import open_session

    is_whole = True
    with watch() as observe:
        session = open_session(RunOptions(suite=suite, offline=True, **others))
        for what, damages in verify_inputs(session.plan, places=session.places, observe=observe):
            is_whole &= not damages
            state = f"DAMAGED ({len(damages)})" if damages else "ok"
            echo(f"{state}: {what}")
            for damage in damages:
                echo(f"error: {damage}", err=True)
    return 0 if is_whole else 1
