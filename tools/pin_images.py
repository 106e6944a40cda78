"""python -m tools.pin_images: name every image of others by the digest its registry gives for its tag now."""

import subprocess
import sys
from pathlib import Path

from tools.deploy_checks.images import IMAGE, is_ours, pinned_files

ROOT = Path(__file__).resolve().parent.parent


def digest(name: str) -> str:
    """What Docker finds in the registry; for an image of several machines, the list of them."""
    command = ["docker", "buildx", "imagetools", "inspect", name, "--format", "{{.Manifest.Digest}}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> int:
    known: dict[str, str] = {}
    for file in pinned_files(ROOT):
        text = file.read_text()
        for match in IMAGE.finditer(text):
            name = match["name"]
            if not is_ours(name):
                known.setdefault(name, digest(name))
                text = text.replace(match[0], f"{match['before']}{name}@{known[name]}")
        file.write_text(text)
    for name, found in sorted(known.items()):
        print(f"{name}@{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
