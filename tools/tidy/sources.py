"""What the rules read: modules with their syntax trees, and every other text file."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("server", "worker", "gateway", "migrate", "client", "local", "tools", "tests", "bench", "chaos")
# Not ours to read: made by programs, or kept out of the repository.
SKIPPED = {
    ".git",
    ".venv",
    ".venv-deploy",
    ".local",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "node_modules",
}


@dataclass(frozen=True)
class Imported:
    """One imported name and where."""

    name: str
    line: int


def text_files(root: Path) -> Iterator[tuple[str, str]]:
    """Path below the root and text of every file that is text."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not SKIPPED & set(path.relative_to(root).parts):
            content = path.read_bytes()
            if b"\0" not in content:
                yield str(path.relative_to(root)), content.decode(errors="replace")


def python_files(root: Path, *packages: str) -> Iterator[tuple[str, ast.Module, str]]:
    """Path below the root, syntax tree and text of every module, and of scripts by their first line."""
    for package in packages:
        for name, text in text_files(root / package):
            if name.endswith(".py") or ("." not in Path(name).name and text.startswith("#!") and "python" in text[:40]):
                yield f"{package}/{name}", ast.parse(text), text


def imports(tree: ast.AST) -> Iterator[Imported]:
    """Everything imported anywhere in a tree, with full dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Imported(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def root_name(node: ast.AST) -> str:
    """The name that an attribute chain begins with: `os` of `os.environ.get`; empty for anything else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
