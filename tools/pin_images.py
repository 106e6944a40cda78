"""python -m tools.pin_images: name every image of others by the digest that its registry has for its tag now."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.deploy_checks.images import IMAGE, pinned_files, unpinned

ROOT = Path(__file__).resolve().parent.parent


def digest(name: str) -> str:
    """What Docker finds in the registry; for an image of several kinds of machine, the list of them."""
    command = ["docker", "buildx", "imagetools", "inspect", name, "--format", "{{.Manifest.Digest}}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def pin(text: str, find_digest: Callable[[str], str]) -> str:
    """The text with the digests of now, for images with a digest and for those that lack one."""
    bare = IMAGE.sub(lambda match: match["before"] + match["name"], text)
    for match in reversed(unpinned(bare)):
        bare = f"{bare[: match.end()]}@{find_digest(match['name'])}{bare[match.end() :]}"
    return bare


def main() -> int:
    known: dict[str, str] = {}

    def find_digest(name: str) -> str:
        if name not in known:
            known[name] = digest(name)
            print(f"{name}@{known[name]}", flush=True)
        return known[name]

    for file in pinned_files(ROOT):
        file.write_text(pin(file.read_text(), find_digest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
