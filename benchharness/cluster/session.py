"""Session on a cluster: connects, opens the run as on this machine, and finds the hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from benchharness.cluster import host as on_host
from benchharness.cluster.connection import connect
from benchharness.cluster.host import HostSetup
from benchharness.cluster.hosts import WAITING, Hosts, connected, differences_noted
from benchharness.cluster.runner import ClusterRunner
from benchharness.doctor.check import Check, Section
from benchharness.errors import RunError
from benchharness.run.device import Device
from benchharness.run.events import Observer, announce
from benchharness.run.options import RunOptions
from benchharness.run.requests import Requests
from benchharness.run.resume import describe_run, run_to_resume
from benchharness.run.session import Session, open_session, prepare_inputs, start_run
from benchharness.suite.load import load

if TYPE_CHECKING:
    from distributed import Client

# Devices of a run on a cluster, as run.json has them.
_CPUS, _GPUS = "CPUs of a cluster", "GPUs of a cluster"


@contextmanager
def open_cluster_run(options: RunOptions, observe: Observer) -> Iterator[ClusterRunner]:
    """Connect to a cluster and start a run on it; the hosts are known when it is proven or run.

    Raises:
        BenchError: There is no such cluster; or data, weights or the results folder are
            unavailable on this machine, whose inputs the hosts' must equal.
    """
    assert options.cluster is not None
    with connect(options.cluster) as client:
        session = _open_session(client, options, observe)
        with (
            start_run(session, observe) as runner,
            _hosts(
                client,
                session,
                runner.requests,
                run=runner.folder.read_run(),
                name=runner.folder.name,
                observe=observe,
            ) as hosts,
        ):
            yield ClusterRunner.of(runner, hosts)
            hosts.forget_run()


def check_hosts(options: RunOptions, observe: Observer) -> Section:
    """Return a check of each host that is there: its kind, and how it differs from this machine.

    Raises:
        BenchError: There is no such cluster; or data or weights are unavailable on this machine.
    """
    assert options.cluster is not None
    with connect(options.cluster) as client:
        # What is not timed need not be proven.
        options = replace(options, proof="no")
        session = _open_session(client, options, observe).resolve_interpreters()
        inputs = prepare_inputs(session, observe)
        run = describe_run(session, inputs, started=datetime.now(UTC), is_resumable=False)
        name = f"doctor-{token_hex(4)}"
        checks: list[Check] = []
        with _hosts(
            client, session, session.requests(inputs), run=run, name=name, observe=observe
        ) as hosts:
            # That none is left is among the checks.
            with suppress(RunError):
                hosts.settle()
            for host in hosts.usable.values():
                checks.append(Check("ok", host.name, f"{host.machine}; {host.device}"))
                notes = differences_noted(run, host)
                checks += [Check("warn", host.name, note) for note in notes]
            remedy = "make it equal; until then the host is left out"
            excluded = hosts.excluded.values()
            checks += [Check("missing", name, reason, remedy) for name, reason in excluded]
            hosts.forget_run()
    # Workers of one host say the same.
    return Section(title=f"hosts of {options.cluster}", findings=tuple(dict.fromkeys(checks)))


def _open_session(client: Client, options: RunOptions, observe: Observer) -> Session:
    wanted = options.device
    resumed = run_to_resume(options, suite=load(options.suite).name)
    if resumed is not None and (device := resumed.read_run()["device"]) in (_CPUS, _GPUS):
        # Another one that is asked for is refused with all else that differs.
        wanted = "cpu" if device == _CPUS else "cuda"
    device = choose_cluster_device(client, wanted, observe)
    return open_session(options, device=device, observe=observe)


@contextmanager
def _hosts(
    client: Client,
    session: Session,
    requests: Requests,
    *,
    run: Mapping[str, Any],
    name: str,
    observe: Observer,
) -> Iterator[Hosts]:
    """Yield the hosts of a cluster for a run of this name, which begin to be inspected."""
    device = session.options.device
    if device == "auto":
        # A host that has no such device says so, and is left out.
        device = "cuda" if session.device.kind == "gpu" else "cpu"
    hosts = Hosts(
        client=client,
        setup=HostSetup(
            run=name,
            suite=session.options.suite.read_text(encoding="utf-8"),
            options=replace(
                session.options,
                profile=session.plan.profile,
                device=device,
                resume=None,
                only_failed=False,
                cluster=None,
            ),
        ),
        run=run,
        trial_ids=on_host.trial_ids(requests),
        observe=observe,
    )
    hosts.watch()
    try:
        yield hosts
    finally:
        for topic in ("all", hosts.topic):
            client.unsubscribe_topic(topic)


def choose_cluster_device(client: Client, wanted: str, observe: Observer) -> Device:
    """Return the device that trials run on: where it is left open, GPUs if any host has one."""
    if wanted == "auto":
        with connected():
            if not client.scheduler_info()["workers"]:
                announce(observe, [WAITING])
                client.wait_for_workers(1)
            found = client.run(on_host.accelerator_count, on_error="ignore")
        wanted = "cuda" if any(found.values()) else "cpu"
    if wanted == "cpu":
        return Device(kind="cpu", index=None, name=_CPUS)
    return Device(kind="gpu", index=None, name=_GPUS)
