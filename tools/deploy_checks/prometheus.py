"""The configuration of Prometheus is valid, and its rules do what their tests say, by Prometheus' own promtool."""

from tools.deploy_checks.check import Check, command

CHECKS = (
    Check("prometheus config", ("observability/prometheus/prometheus.yml",), command("promtool", "check", "config")),
    Check("prometheus rules", ("observability/prometheus/rules/tests/*.yml",), command("promtool", "test", "rules")),
)
