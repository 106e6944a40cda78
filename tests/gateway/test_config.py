import re
import subprocess
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway import config as gateway_config
from gateway.config import ROOT, Certificate, GatewayError, envoy_binary, render, swagger_ui_dir
from gateway.observed import Observed


def validation_of(config: Path) -> subprocess.CompletedProcess[str]:
    command = [str(envoy_binary()), "--mode", "validate", "-l", "error", "-c", str(config)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


class TestRender:
    @pytest.mark.parametrize("endpoints", [[("127.0.0.1", 50051), ("127.0.0.1", 50052)], [("server.bank.svc", 50051)]])
    def test_result_is_accepted_by_envoy(self, tmp_path: Path, endpoints: list[tuple[str, int]]) -> None:
        config = tmp_path / "envoy.yaml"
        render(config, gateway_port=8080, grpc_port=9090, server_endpoints=endpoints, reflection=False)
        assert validation_of(config).returncode == 0
        assert "${" not in config.read_text()

    def test_every_service_with_a_path_is_served_as_json(self) -> None:
        contract = FileDescriptorSet.FromString((ROOT / "gen" / "bank.binpb").read_bytes())
        services = {
            f"{file.package}.{service.name}"
            for file in contract.file
            for service in file.service
            if any(method.options.HasExtension(annotations_pb2.http) for method in service.method)
        }
        assert len(services) > 5
        listed = re.findall(r"^ +- (bank\.v1\.\w+)$", gateway_config.TEMPLATE.read_text(), re.MULTILINE)
        assert sorted(listed) == sorted(services)

    def test_certificate_and_admin_port_are_accepted_by_envoy(self, tmp_path: Path) -> None:
        config = tmp_path / "envoy.yaml"
        render(
            config,
            gateway_port=8080,
            grpc_port=9090,
            server_endpoints=[("server", 50051)],
            reflection=False,
            certificate=Certificate(tmp_path / "tls"),
            observed=Observed(admin_port=9901),
        )
        assert validation_of(config).returncode == 0
        assert str(tmp_path / "certificate.json") in config.read_text()

    def test_paths_with_quotes_and_spaces_are_found(self, tmp_path: Path) -> None:
        folder = tmp_path / 'a "b" $c \\d'
        folder.mkdir()
        descriptor_set = folder / "bank.binpb"
        descriptor_set.write_bytes((ROOT / "gen" / "bank.binpb").read_bytes())
        render(
            folder / "envoy.yaml",
            gateway_port=8080,
            grpc_port=9090,
            server_endpoints=[("127.0.0.1", 50051)],
            reflection=True,
            descriptor_set=descriptor_set,
            www=folder,
        )
        assert validation_of(folder / "envoy.yaml").returncode == 0

    def test_missing_descriptor_set_is_refused_by_envoy(self, tmp_path: Path) -> None:
        config = tmp_path / "envoy.yaml"
        render(
            config,
            gateway_port=8080,
            grpc_port=9090,
            server_endpoints=[("127.0.0.1", 50051)],
            reflection=False,
            descriptor_set=tmp_path / "absent.binpb",
        )
        validation = validation_of(config)
        assert validation.returncode != 0
        assert "absent.binpb" in validation.stderr


class TestInstalledFiles:
    def test_binary_is_the_pinned_version(self) -> None:
        version = subprocess.run([str(envoy_binary()), "--version"], check=True, capture_output=True, text=True).stdout
        assert "/1.40.0/" in version

    def test_swagger_ui_bundle_is_complete(self) -> None:
        assert {"swagger-ui-bundle.js", "swagger-ui.css"} <= {file.name for file in swagger_ui_dir().iterdir()}

    def test_missing_package_says_what_to_do(self) -> None:
        with pytest.raises(GatewayError) as caught:
            gateway_config._package_dir("no_such_package")
        assert str(caught.value) == "the package no_such_package is not installed; run `make setup`"
