"""Record of what the network and the loss really receive."""

from __future__ import annotations

from benchharness.api import HostLedger


class Ledger(HostLedger):
    """The fingerprints and labels of the sampled steps of the last epoch, kept on the host.

    A record that is kept on the device does not wait for it: a class with the same methods, by the
    framework's arrays. What is not sampled must cost nothing, for the contract times it.

    Attributes:
        computed_by: What computes it, for the settings.
    """

    computed_by = "numpy"
