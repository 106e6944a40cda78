"""Shape of the Python code: sizes, names, and what hides a dependency."""

import ast
import re
from pathlib import Path

from tools.tidy.boundaries import within
from tools.tidy.sources import PACKAGES, imports, python_files, root_name

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
# Methods of pytest's monkeypatch that replace something.
PATCHES = ("setattr", "delattr", "setitem")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def imports_inside_functions(root: Path) -> list[str]:
    """An import inside a function hides a cycle or a cost."""
    return sorted(
        {
            f"{file}:{imported.line}: import of {imported.name} inside a function"
            for file, tree, _ in python_files(root, *PACKAGES)
            for function in ast.walk(tree)
            if isinstance(function, Function)
            for imported in imports(function)
        }
    )


def sizes(root: Path) -> list[str]:
    """A module fits the head, a function fits the screen."""
    complaints = []
    for file, tree, text in python_files(root, *PACKAGES):
        lines = text.count("\n")
        if lines > MODULE_LINES_MAX:
            complaints.append(f"{file}:1: {lines} lines, at most {MODULE_LINES_MAX}: split it")
        for node in ast.walk(tree):
            if isinstance(node, Function):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    complaints.append(
                        f"{file}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"
                    )
    return complaints


def vague_names(root: Path) -> list[str]:
    """A module or class is named after what it holds."""
    complaints = []
    for file, tree, _ in python_files(root, *PACKAGES):
        if re.fullmatch(r"(.*_)?(utils?|helpers?|common|misc|managers?)", Path(file).stem):
            complaints.append(f"{file}:1: name the module after the one thing it is about")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Helper|Impl|Utils?)$", node.name):
                complaints.append(f"{file}:{node.lineno}: {node.name}: name the class after what it is")
    return complaints


def environment_reads(root: Path) -> list[str]:
    """Server and worker read settings in one place."""
    return [
        f"{file}:{node.lineno}: the environment is read in server/config.py only"
        for file, tree, _ in python_files(root, "server", "worker")
        if file != "server/config.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and root_name(node) == "os"
    ]


def mocks(root: Path) -> list[str]:
    """Tests run our modules as they are; only a limit or a wait, a constant, may be made smaller."""
    complaints = []
    for file, tree, _ in python_files(root, "tests", "bench", "chaos"):
        for imported in imports(tree):
            if within(imported.name, ("unittest.mock", "mock", "pytest_mock")):
                complaints.append(f"{file}:{imported.line}: {imported.name}: tests run the real thing")
        ours = _our_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PATCHES:
                # Called as ("server.tokens.NAME", value) or as (tokens, "NAME", value).
                texts = [str(each.value) for each in node.args[:2] if isinstance(each, ast.Constant)]
                name = next(iter(texts), "")
                is_ours = within(name, PACKAGES) or (bool(node.args) and root_name(node.args[0]) in ours)
                if is_ours and not re.search(r"(^|\.)_?[A-Z][A-Z0-9_]*$", name):
                    complaints.append(f"{file}:{node.lineno}: our own modules are not patched: hand in another value")
    return complaints


def _our_names(tree: ast.AST) -> set[str]:
    """Names that an import binds to something of ours."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and within(node.module or "", PACKAGES):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names if within(alias.name, PACKAGES)}
    return names
