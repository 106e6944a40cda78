"""Reads the Dockerfile as far as ours goes, and lays out an image's /app from it: there is no engine to ask here."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tools.generate import ROOT

DOCKERFILE = ROOT / "Dockerfile"


@dataclass
class Stage:
    """One stage of the Dockerfile."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [text for name, text in self.instructions if name == keyword]


def stages() -> dict[str, Stage]:
    """Every stage by its name."""
    found: dict[str, Stage] = {}
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text())).splitlines()
    for line in filter(None, lines):
        keyword, _, text = line.partition(" ")
        if keyword == "FROM":
            base, _, name = text.partition(" AS ")
            found[name] = Stage(name, base)
        elif found:
            list(found.values())[-1].instructions.append((keyword, text.strip()))
    return found


def chain(name: str) -> list[Stage]:
    """A stage and those it is built on, the lowest first."""
    every = stages()
    chained: list[Stage] = []
    while name in every:
        chained.insert(0, every[name])
        name = every[name].base
    return chained


def environment(name: str) -> dict[str, str]:
    """The variables an image sets, without PATH."""
    text = " ".join(line for stage in chain(name) for line in stage.all("ENV"))
    return {key: value for key, value in re.findall(r"(\w+)=(\S+)", text) if key != "PATH"}


def lay_out(name: str, app: Path) -> None:
    """Copy into `app` what the image's own COPY lines take from the checkout."""
    for stage in chain(name):
        for line in stage.all("COPY"):
            if line.startswith("--from="):
                continue
            *sources, target = line.split()
            for source in sources:
                path = ROOT / source
                if path.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(path, app / target, ignore=ignored, dirs_exist_ok=True)
                else:
                    (app / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, app / target)
