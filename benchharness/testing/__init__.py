"""For tests and plugin authors: a reference backend and the contract."""
