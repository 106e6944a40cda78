"""Each check of `make check-deploy` notices the fault it is there for."""

import re
import shutil
from pathlib import Path

import pytest

from tools.deploy_checks import (
    CHECKS,
    compose,
    gateway,
    images,
    manifests,
    prometheus,
    terraform,
    workflows,
    yaml_style,
)
from tools.deploy_checks.__main__ import report
from tools.deploy_checks.check import Check, ProgramMissingError, command, find_program
from tools.generate import ROOT

FILES = (
    "Dockerfile",
    "compose.yaml",
    ".yamllint.yaml",
    ".ci",
    ".github",
    "envoy",
    "gateway",
    "gen/bank.binpb",
    "gen/openapi.json",
    "k8s",
    "observability",
)
CI = ".github/workflows/ci.yml"

# Check, file, what is replaced by what, and what is said to it.
FAULTS = [
    ("yamllint", "compose.yaml", "services:\n", "services:\n  redis: {}\n", "duplication of key"),
    ("hadolint", "Dockerfile", "WORKDIR /app", "WORKDIR app", "DL3000"),
    ("image pins", "Dockerfile", "@sha256:9d2e", "\n# @sha256:9d2e", "python:3.13-slim-trixie has no digest"),
    ("image pins", "compose.yaml", "@sha256:8096", " # ", "redis:8.8-alpine has no digest: make pin-images"),
    ("image pins", CI, "@sha256:fe07", " # ", "postgres:15-alpine has no digest"),
    ("checkov dockerfile", "Dockerfile", "USER 10001:10001", "USER root", "CKV_DOCKER_8"),
    ("shellcheck", ".ci/run", "export PATH", "export $PATH", "SC2163"),
    ("compose schema", "compose.yaml", "stop_grace_period: 60s", "stop_grace: 60s", "stop_grace"),
    ("compose hardening", "compose.yaml", '"127.0.0.1:8025:8025"', '"8025:8025"', "mailpit: port 8025:8025 is"),
    ("compose hardening", "compose.yaml", "  read_only: true\n", "", "its root file system can be written to"),
    ("compose hardening", "compose.yaml", "  cap_drop: [ALL]\n", "", "it keeps capabilities"),
    ("compose hardening", "compose.yaml", "no-new-privileges:true", "label:user:USER", "may gain privileges"),
    ("compose hardening", "compose.yaml", ", pids: 64", "", "it may use up the machine"),
    (
        "compose hardening",
        "compose.yaml",
        "network_mode: none",
        "network_mode: host",
        "no longer in a container",
    ),
    ("compose hardening", "compose.yaml", "LOG_LEVEL: info", "SMTP_PASSWORD: x", "SMTP_PASSWORD is a secret"),
    ("workflow schema", CI, "runs-on: ubuntu-24.04\n", "", "ci.yml"),
    ("dependabot schema", ".github/dependabot.yml", "weekly", "sometimes", "sometimes"),
    ("actionlint", CI, "matrix.python }}, Post", "matrix.snake }}, Post", '"snake" is not defined'),
    ("actionlint", ".github/workflows/release.yml", 'create "$GITHUB_REF_NAME"', "create $GITHUB_REF_NAME", "SC2086"),
    ("zizmor", CI, "persist-credentials: false", "fetch-depth: 1", "artipacked"),
    ("zizmor", CI, "permissions: {}", "permissions: write-all", "excessive-permissions"),
    ("zizmor", CI, "run: make check\n", "run: echo ${{ github.head_ref }}\n", "template-injection"),
    ("action pins", CI, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "ci.yml:"),
    ("action pins", CI, " # v7.0.1", "", "write owner/name@COMMIT # vN.N.N"),
    ("prometheus config", "observability/prometheus/prometheus.yml", "scrape_interval", "scrape_every", "scrape_every"),
    ("prometheus rules", "observability/prometheus/rules/worker.yml", "expr: ", "expr: 2 * ", "FAILED"),
    ("envoy", "envoy/envoy.yaml", "lb_policy: LEAST_REQUEST", "lb_policy: LEAST", "LEAST"),
    ("manifest schemas", "k8s/base/server.yaml", "enableServiceLinks", "enableServiceLink", "'enableServiceLink' was"),
    ("manifest schemas", "k8s/base/kustomization.yaml", "- worker.yaml", "- jobs.yaml", "jobs.yaml"),
    ("checkov kubernetes", "k8s/base/worker.yaml", "Escalation: false", "Escalation: true", "CKV_K8S_20"),
    ("terraform", "k8s/aws/environment/dns.tf", "var.domain", "var.name", "var.name is not declared"),
    ("checkov terraform", "k8s/aws/environment/database.tf", "encrypted     = true", "encrypted = false", "CKV_AWS_16"),
    ("checkov terraform", "k8s/aws/environment/dns.tf", "{", "{{", "dns.tf: cannot be parsed"),
    ("envoy", "gateway/config.py", '"alpn_protocols"', '"alpn"', "alpn"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that deploy, to be broken."""
    root = tmp_path / "checkout"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    return root


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}: name another fault"
    path.write_text(text.replace(old, new, 1))


def check(name: str) -> Check:
    return next(each for each in CHECKS if each.name == name)


class TestFaults:
    @pytest.mark.parametrize(("name", "file", "old", "new", "complaint"), FAULTS)
    def test_fault_is_named(
        self,
        checkout: Path,
        capsys: pytest.CaptureFixture[str],
        name: str,
        file: str,
        old: str,
        new: str,
        complaint: str,
    ) -> None:
        replace(checkout / file, old, new)
        assert report([check(name)], checkout) == 1
        assert complaint in capsys.readouterr().out

    def test_compose_file_that_is_none_is_told(self, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (checkout / "compose.yaml").write_text("services: [\n")
        assert report([check("compose hardening")], checkout) == 1
        assert "it has no services to look at" in capsys.readouterr().out

    def test_file_that_is_gone_is_a_failure(self, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (checkout / "Dockerfile").unlink()
        assert report([check("hadolint")], checkout) == 1
        assert "no file matches Dockerfile" in capsys.readouterr().out

    def test_every_check_has_a_fault_that_it_notices(self) -> None:
        modules = (compose, gateway, images, manifests, prometheus, terraform, workflows, yaml_style)
        names = {each.name for module in modules for each in module.CHECKS}
        assert names - {fault[0] for fault in FAULTS} == set()
        assert names <= {each.name for each in CHECKS}


class TestReport:
    def test_missing_program_fails_and_says_what_to_install(
        self, checkout: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        missing = Check("absent", ("Dockerfile",), command("no-such-program"))
        passing = Check("fine", ("Dockerfile",), lambda root, files: [])
        assert report([missing, passing], checkout) == 1
        lines = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r"absent +1 files +\d+\.\d s  FAILED", lines[0])
        assert re.fullmatch(r"fine +1 files +\d+\.\d s  ok", lines[1])
        assert lines[-1] == "  no-such-program is missing: make deploy-tools"

    def test_program_of_go_says_how_go_installs_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("GOPATH", str(tmp_path))
        with pytest.raises(ProgramMissingError, match=r"^actionlint is missing: go install .*actionlint@v1\.7\.12$"):
            find_program("actionlint")

    def test_program_that_fails_silently_is_told(self, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert report([Check("silent", ("Dockerfile",), command("false"))], checkout) == 1
        assert "false ended with status 1 and said nothing" in capsys.readouterr().out
