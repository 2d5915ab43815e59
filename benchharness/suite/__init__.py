"""From a TOML file to cells and trials."""
