"""The gateway's configuration as its image renders it, judged by the gateway itself."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, run


def validated(root: Path, _files: Sequence[Path]) -> list[str]:
    """What Envoy says to the configuration of production, with and without TLS."""
    return run(root, sys.executable, "-m", "gateway", "validate", SERVER_ENDPOINTS="server:50051", PYTHONPATH=str(root))


CHECKS = (Check("envoy", ("envoy/envoy.yaml", "gen/bank.binpb"), validated),)
