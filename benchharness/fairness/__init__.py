"""Same work, proven: the certificate, the batch ledger, the settings that took effect."""
