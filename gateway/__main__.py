"""`python -m gateway`: run the gateway, have it check its configuration (validate) or ask a running one (ready)."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from gateway.config import Certificate, GatewayError
from gateway.observed import READY_PATH
from gateway.process import ask, command, run
from gateway.settings import Settings, read_settings


def validate(settings: Settings) -> int:
    """Have Envoy check the configuration without TLS and with it; its certificate is looked at only at a start."""
    for certificate in (None, settings.certificate or Certificate(Path("/run/secrets/tls"))):
        with tempfile.TemporaryDirectory() as folder:
            checked = replace(settings, certificate=certificate, config_dir=Path(folder))
            done = subprocess.run([*command(checked), "--mode", "validate"], check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def ready(settings: Settings) -> int:
    """Ask the gateway on this machine whether it takes calls: 0 if it does, also without a server to hand them to."""
    return 0 if ask(settings.admin_port, "GET", READY_PATH) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The gateway of the Transactions API.")
    parser.add_argument("action", nargs="?", default="run", choices=["run", "validate", "ready"])
    action = parser.parse_args().action
    try:
        settings = read_settings()
        if action == "run":
            return asyncio.run(run(settings))
        return validate(settings) if action == "validate" else ready(settings)
    except (GatewayError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
