"""The runner, its worker processes, and what a strategy does inside one."""
