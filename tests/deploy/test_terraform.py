"""The rules for Terraform hold for k8s/aws, and each of them notices when it is broken."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from local.settings import ROOT
from tests.deploy.manifests import ENVIRONMENTS
from tools.deploy_checks.manifests import KUBERNETES
from tools.deploy_checks.terraform import faults

GITHUB = ("organization_id", "organization", "repository_id", "repository")
AWS = ROOT / "k8s" / "aws"
SOUND = """
terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

variable "region" {
  description = "Where."
  type        = string
}

locals {
  name = "a"
}

data "aws_partition" "current" {}

resource "aws_vpc" "this" {
  tags = { Name = local.name, in = var.region, of = data.aws_partition.current.id }
}

output "vpc" {
  description = "Which."
  value       = aws_vpc.this.id
}
"""


def module(folder: Path, text: str, values: str = 'region = "a"\n') -> list[str]:
    (folder / "main.tf").write_text(text)
    (folder / "a.tfvars").write_text(values)
    return [complaint.partition(": ")[2] for complaint in faults(folder)]


@pytest.mark.parametrize("name", ["account", "environment"])
def test_our_modules_are_without_fault(name: str) -> None:
    assert list(faults(AWS / name)) == []


class TestFaults:
    def test_sound_module_has_none(self, tmp_path: Path) -> None:
        assert module(tmp_path, SOUND) == []

    @pytest.mark.parametrize(
        ("old", "new", "fault"),
        [
            ('  required_version = ">= 1.11"\n', "", "required_version is missing"),
            ('      version = "~> 6.25"\n', "", "hashicorp/aws has no pinned version"),
            ("var.region", "var.zone", "var.zone is not declared"),
            ("local.name", "local.title", "local.title is not declared"),
            ("data.aws_partition.current.id", '"aws"', "data.aws_partition.current is not used"),
            ("= aws_vpc.this.id", "= aws_subnet.this.id", "aws_subnet.this is not declared"),
            ('  description = "Where."\n', "", "variable region has no description"),
            ('  description = "Which."\n', "", "output vpc has no description"),
            ("  type        = string\n", "", "variable region has no type"),
            ("  tags = {", '  password = "a"\n  tags = {', "password = would put a secret into the state"),
        ],
    )
    def test_fault_is_named(self, tmp_path: Path, old: str, new: str, fault: str) -> None:
        assert old in SOUND
        assert fault in module(tmp_path, SOUND.replace(old, new))

    def test_value_that_is_missing_or_unknown_is_named(self, tmp_path: Path) -> None:
        assert module(tmp_path, SOUND, 'zone = "a"\n') == ["zone is not declared", "region is missing"]


class TestEnvironment:
    def test_version_of_kubernetes_is_the_one_the_manifests_are_checked_against(self) -> None:
        text = (AWS / "environment" / "variables.tf").read_text()
        block = text[text.index('variable "kubernetes_version"') :]
        assert re.findall(r'default\s*=\s*"([\d.]+)"', block)[0] == KUBERNETES

    @pytest.mark.parametrize("name", ENVIRONMENTS)
    def test_overlay_names_the_subnets_of_database_and_cache(self, name: str) -> None:
        text = (AWS / "environment" / "variables.tf").read_text()
        (network,) = re.findall(r'"(\d+\.\d+\.0\.0/16)"', text)
        # cidrsubnet(network, 6, 1), as the output data_cidr has it.
        data = list(ip_network(network).subnets(prefixlen_diff=6))[1]
        values = (ROOT / "k8s" / "overlays" / name / "values.yaml").read_text()
        assert f"data_cidr: {data}\n" in values

    def test_role_of_the_pipeline_trusts_names_with_their_ids(self) -> None:
        text = (AWS / "environment" / "deployer.tf").read_text()
        (subject,) = re.findall(r'"(repo:[^"]+)"', text)
        given = {f"${{var.github.{key}}}": f"<{key}>" for key in GITHUB}
        for reference, shown in given.items():
            subject = subject.replace(reference, shown)
        assert subject == (
            "repo:<organization>@<organization_id>/<repository>@<repository_id>:environment:${var.environment}"
        )
        assert re.findall(r'test\s*=\s*"(\w+)"', text) == ["StringEquals", "StringEquals"]
