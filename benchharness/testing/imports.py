"""What a plugin imports of ours, read off its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

CORE = "benchharness"
API = "benchharness.api"
# Where the NumPy reference is, which a new plugin stands on until it has replaced it.
REFERENCE = "benchharness.testing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An import of something of ours.

    Attributes:
        file: Where it stands, a path below the package's folder.
        line: From 1.
        module: What is imported.
    """

    file: str
    line: int
    module: str

    @property
    def is_foreign(self) -> bool:
        """Whether it is what no plugin may rely on."""
        return not (self.module == API or _is_below(self.module, API) or self.is_reference)

    @property
    def is_reference(self) -> bool:
        """Whether it is the reference."""
        return self.module == REFERENCE or _is_below(self.module, REFERENCE)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module}"


def core_imports(entry: EntryPoint) -> list[Import]:
    """Return every import of ours in the package, or the single module, of a plugin."""
    return [
        Import(file=name, line=line, module=module)
        for name, text in _sources(entry.module.partition(".")[0])
        for line, module in _imported(ast.parse(text))
        if module == CORE or _is_below(module, CORE)
    ]


def _sources(package: str) -> Iterator[tuple[str, str]]:
    spec = find_spec(package)
    if spec is None:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(folder, file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and spec.origin:
        files = [(Path(spec.origin).parent, Path(spec.origin))]
    for folder, file in files:
        yield str(file.relative_to(folder)), file.read_text(encoding="utf-8")


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything imported absolutely."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                # ``from benchharness import api`` names a module only together.
                is_core = module == CORE
                yield from (
                    (node.lineno, f"{module}.{name.name}" if is_core else module) for name in names
                )
            case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
                if ast.unparse(function).endswith(("import_module", "__import__")):
                    yield node.lineno, module


def _is_below(module: str, package: str) -> bool:
    return module.startswith(f"{package}.")
