"""Finds which modules of a package import which, by reading the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class When(StrEnum):
    """When an import happens."""

    LOADED = "as the module is loaded"
    CALLED = "in a function"
    NEVER = "for types only"


class Import(NamedTuple):
    """An import of one module by another. Both are given by their full names."""

    importer: str
    imported: str
    line: int
    when: When

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}, {self.when.value}"


def modules_of(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The files of all modules, by the full name of the module.

    Args:
        folders: the folder of each package, by its full name, such as
            {"ticodec": codec/, "ticodec.cli": cli/}.
    """
    modules = {}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            modules[".".join((package, *parts))] = path
    return modules


def all_imports(modules: Mapping[str, Path]) -> list[Import]:
    """All imports of one of these modules by another of them."""
    imports: list[Import] = []
    for name, path in modules.items():
        reader = _Reader(name, path.name == "__init__.py", modules)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        imports += reader.imports
    return imports


class _Reader(ast.NodeVisitor):
    """Collects the imports of one module."""

    def __init__(self, name: str, is_package: bool, modules: Iterable[str]) -> None:
        self.name, self.modules = name, set(modules)
        self.package = name if is_package else name.rpartition(".")[0]
        self.when = When.LOADED
        self.imports: list[Import] = []

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._inside(When.CALLED, node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        if name != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        for statement in node.body:
            self._inside(When.NEVER, statement)
        for statement in node.orelse:
            self.visit(statement)

    def _inside(self, when: When, node: ast.AST) -> None:
        outside = self.when
        self.when = when if outside is When.LOADED else outside
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.generic_visit(node)
        else:
            self.visit(node)
        self.when = outside

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            parent = ".".join(parts[: len(parts) - node.level + 1])
            base = f"{parent}.{base}" if base else parent
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            self._add(submodule if submodule in self.modules else base, node.lineno)

    def _add(self, imported: str, line: int) -> None:
        if imported in self.modules and imported != self.name:
            self.imports.append(Import(self.name, imported, line, self.when))


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through other modules.

    Imports in functions count, because they only delay a circle. Imports that only types need do
    not count.
    Each group is sorted.
    """
    after: dict[str, set[str]] = {}
    for one in imports:
        if one.when is not When.NEVER:
            after.setdefault(one.importer, set()).add(one.imported)
    reached = {name: set(_reachable(name, after)) for name in after}
    groups = {
        tuple(sorted({name, *(other for other in others if name in reached.get(other, ()))}))
        for name, others in reached.items()
        if name in others
    }
    return [list(group) for group in sorted(groups)]


def _reachable(start: str, after: Mapping[str, set[str]]) -> Iterator[str]:
    """All modules that importing `start` imports. `start` is among them if it is in a circle."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in after.get(waiting.pop(), ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
                yield name


def upward(
    imports: Iterable[Import], layer: Callable[[str], str], below: Mapping[str, set[str]]
) -> list[Import]:
    """Imports between two layers that are not allowed. Imports for types count too.

    Args:
        imports: all imports.
        layer: a function that returns the layer of a module from the module's name.
        below: the layers that each layer may import besides itself.
    """
    return [
        one
        for one in imports
        if layer(one.imported) != layer(one.importer)
        and layer(one.imported) not in below[layer(one.importer)]
    ]
