from pathlib import Path

import pytest

from gateway.config import Certificate, GatewayError
from gateway.settings import read_settings

ENDPOINT = {"SERVER_ENDPOINTS": "server:50051"}


class TestReadSettings:
    def test_defaults_are_those_of_a_container(self) -> None:
        settings = read_settings(ENDPOINT)
        assert settings.server_endpoints == (("server", 50051),)
        assert (settings.listen_address, settings.gateway_port, settings.grpc_port) == ("0.0.0.0", 8080, 9090)
        assert (settings.certificate, settings.reflection, settings.calls_per_second) == (None, False, 500)

    def test_several_endpoints_and_a_certificate_are_read(self) -> None:
        given = {"SERVER_ENDPOINTS": "a:1, [::1]:65535", "GATEWAY_TLS_DIR": "/tls", "BANK_ENVIRONMENT": "test"}
        settings = read_settings(given)
        assert settings.server_endpoints == (("a", 1), ("[::1]", 65535))
        assert settings.certificate == Certificate(Path("/tls"))
        assert settings.reflection

    @pytest.mark.parametrize("text", ["server", "server:", ":50051", "server:0", "server:65536", "server:x", "a:1,b"])
    def test_malformed_endpoint_is_named(self, text: str) -> None:
        with pytest.raises(GatewayError, match="SERVER_ENDPOINTS must be like server-a:50051,server-b:50051, not"):
            read_settings({"SERVER_ENDPOINTS": text})

    @pytest.mark.parametrize("text", ["", " ", ","])
    def test_missing_endpoints_are_asked_for(self, text: str) -> None:
        with pytest.raises(GatewayError, match="SERVER_ENDPOINTS is missing"):
            read_settings({"SERVER_ENDPOINTS": text})

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GATEWAY_PORT", "65536"),
            ("GATEWAY_CALLS_PER_SECOND", "0"),
            ("XFF_TRUSTED_HOPS", "-1"),
            ("GATEWAY_DRAIN_S", "1.5"),
        ],
    )
    def test_number_out_of_range_is_named(self, name: str, text: str) -> None:
        with pytest.raises(GatewayError, match=f"{name} must be a number from"):
            read_settings({**ENDPOINT, name: text})
