"""python -m tools.tidy: run every rule on this checkout."""

import sys
from pathlib import Path

from tools.tidy import RULES


def main() -> int:
    """Print all complaints; 1 if there are any."""
    complaints = [complaint for rule in RULES for complaint in rule(Path(__file__).resolve().parents[2])]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
