"""Static checks of the files that deploy the service: `make check-deploy`.

One module for each kind of file; it ends with a tuple CHECKS, which is added here.
"""

from tools.deploy_checks import compose, gateway, images, manifests, prometheus, terraform, workflows, yaml_style
from tools.deploy_checks.check import Check

CHECKS: tuple[Check, ...] = (
    *yaml_style.CHECKS,
    *images.CHECKS,
    *compose.CHECKS,
    *workflows.CHECKS,
    *gateway.CHECKS,
    *manifests.CHECKS,
    *terraform.CHECKS,
    *prometheus.CHECKS,
)
