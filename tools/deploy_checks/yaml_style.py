"""YAML that means what it looks like: no key twice, no tab, no truth value that is a word."""

from tools.deploy_checks.check import Check, command

CHECKS = (
    Check(
        "yamllint",
        (
            "compose.yaml",
            ".github/**/*.yml",
            ".github/**/*.yaml",
            "k8s/**/*.yaml",
            "observability/**/*.yaml",
            "observability/**/*.yml",
        ),
        command("yamllint", "--strict", "--config-file", ".yamllint.yaml"),
    ),
)
