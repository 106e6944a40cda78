"""Rebuild gen/ from proto/ and db/, or check that it is what they say.

python -m tools.generate           rebuild
python -m tools.generate --check   change nothing, exit 1 naming the files that differ
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from server.access import ACCESS
from tools import openapi, protos

ROOT = Path(__file__).resolve().parents[1]
DESCRIPTOR_SET = "bank.binpb"
OPENAPI = "openapi.json"


class GenerateError(Exception):
    """A source cannot be turned into code; the message says which, and what to do."""


def build(root: Path, out: Path) -> list[str]:
    """Write everything that belongs in gen/ into the empty folder `out`.

    Args:
        root: A checkout: proto/, db/, tools/sqlc_plugin and, for reuse, gen/.
        out: Where to write.

    Returns:
        Remarks for the reader, one line each.

    Raises:
        GenerateError: A source is refused, or a needed program is missing.
    """
    try:
        protos.write_python(root / "proto", out)
        image = protos.descriptor_set(root / "proto")
    except protos.CompileError as error:
        raise GenerateError(str(error)) from error
    (out / DESCRIPTOR_SET).write_bytes(image)
    _write_queries(root, out / "bankdb")
    return _write_openapi(root, out, image)


def _write_queries(root: Path, out: Path) -> None:
    """Run sqlc in a copy, because db/sqlc.yaml names gen/ as its target."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(root / "db", copy / "db")
        (copy / "tools").mkdir()
        shutil.copy2(root / "tools" / "sqlc_plugin", copy / "tools" / "sqlc_plugin")
        # sqlc and the plugin's interpreter are those of the Python that runs this.
        scripts = sysconfig.get_path("scripts")
        environment = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")])}
        command = [f"{scripts}/sqlc", "generate"]
        result = subprocess.run(command, cwd=copy / "db", env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise GenerateError(result.stderr.strip())
        shutil.move(copy / "gen" / "bankdb", out)


def _write_openapi(root: Path, out: Path, image: bytes) -> list[str]:
    public = {method for method, access in ACCESS.items() if access.public}
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    try:
        (out / OPENAPI).write_text(openapi.document(image, version=version, public=public))
    except openapi.ProgramFailedError as error:
        raise GenerateError(f"{openapi.PROGRAM}: {error}") from error
    except openapi.ProgramMissingError:
        committed = root / "gen" / OPENAPI
        known = json.loads(committed.read_text()).get(openapi.DIGEST) if committed.exists() else None
        if known != openapi.digest(image, public):
            advice = f"{openapi.PROGRAM} is not installed: {openapi.INSTALL}"
            raise GenerateError(f"gen/{OPENAPI} does not match the contract, and {advice}") from None
        shutil.copy(committed, out / OPENAPI)
        return [f"gen/{OPENAPI}: compared by the digest of its sources only, {openapi.PROGRAM} is not installed"]
    return []


def differing(expected: Path, actual: Path) -> list[str]:
    """Files that are missing, left over or different in `actual`, as sorted relative paths."""
    wanted, present = _contents(expected), _contents(actual)
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def replace(expected: Path, actual: Path) -> list[str]:
    """Make `actual` equal to `expected`, touching only the files that differ; their names are returned."""
    changed = differing(expected, actual)
    for name in changed:
        source, target = expected / name, actual / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        else:
            target.unlink()
    for folder in sorted((path for path in actual.rglob("*") if path.is_dir()), reverse=True):
        if not (expected / folder.relative_to(actual)).exists() and not _contents(folder):
            shutil.rmtree(folder)
    return changed


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description="Rebuild gen/ from proto/ and db/.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if gen/ is not up to date")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        try:
            remarks = build(ROOT, fresh)
        except GenerateError as error:
            print(error, file=sys.stderr)
            return 1
        changed = differing(fresh, ROOT / "gen") if check else replace(fresh, ROOT / "gen")
    for remark in remarks:
        print(remark)
    for name in changed:
        print(f"gen/{name}: {'differs from its sources: run make gen' if check else 'written'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
