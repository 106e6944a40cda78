"""SQL: written in db/queries only, and on the path of the money in the subset that scales out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools.tidy.sources import imports, python_files

# What engines that spread rows over machines do not have, or only at the price of one place for all.
SINGLE_MACHINE = re.compile(
    r"\b(?:(?:un)?listen|notify|pg_notify|pg_(?:try_)?advisory\w*|txid_\w+|pg_current_xact_id\w*"
    r"|pg_(?:current_)?snapshot\w*|pg_visible_in_snapshot|pg_xact_\w+|xmin|xmax|lock\s+table)\b",
    re.IGNORECASE,
)
# SET is not among them: it takes no parameters.
SQL = re.compile(r"\s*(?:--.*\n\s*)*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE|CALL|LOCK|TRUNCATE|DO)\s")
MONEY_WRITES = re.compile(
    r"\binsert\s+into\s+(?:transfers|entries)\b|\bset\b[^;]*\b(?:posted_minor|held_minor|entry_count)\s*=(?!=)",
    re.IGNORECASE,
)


def money_path(root: Path) -> list[str]:
    """Schema, and every query file that the ledger imports, keep to what a distributed engine offers."""
    used = {
        imported.name.split(".")[1]
        for file, tree, _ in python_files(root, "server")
        if file.startswith("server/ledger/")
        for imported in imports(tree)
        if imported.name.startswith("bankdb.")
    }
    files = [*(root / "db/migrations").glob("*.sql"), *(root / f"db/queries/{name}.sql" for name in used)]
    return [
        f"{path.relative_to(root)}:{line}: {match[0]} on the path of the money"
        for path in sorted(files)
        if path.exists()
        for line, text in _statements(path)
        for match in SINGLE_MACHINE.finditer(text)
    ]


def money_writes(root: Path) -> list[str]:
    """Only the ledger calls queries that write balances, transfers or entries."""
    writers = {
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        for path in (root / "db/queries").glob("*.sql")
        for name, text in re.findall(r"-- name: (\w+) [^\n]*\n(.*?)(?=-- name:|\Z)", path.read_text(), re.DOTALL)
        if MONEY_WRITES.search(text)
    }
    return [
        f"{file}:{line}: {name} writes money: go through server.ledger"
        for file, tree, _ in python_files(root, "server", "worker", "client", "local")
        if not file.startswith("server/ledger/")
        for name, line in _names(tree)
        if name in writers
    ]


def composed_sql(root: Path) -> list[str]:
    """Values travel as parameters; SQL is never put together from strings."""
    complaints = []
    for file, tree, _ in python_files(root, "server", "worker", "client"):
        for node in ast.walk(tree):
            first: ast.AST | None = None
            if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
                first = node.values[0]
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
                first = node.left
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
                first = node.func.value
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and SQL.match(first.value):
                complaints.append(f"{file}:{node.lineno}: SQL put together from strings: use parameters")  # type: ignore[attr-defined]
    return complaints


def _statements(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        yield number, line.partition("--")[0]


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names)
