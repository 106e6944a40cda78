import pytest

from local.errors import StackError
from local.settings import ROOT, read_settings


class TestReadSettings:
    def test_nothing_set_gives_documented_defaults(self) -> None:
        settings = read_settings({})
        assert settings.state_dir == ROOT / ".local"
        assert settings.public_url == "http://localhost:8080"
        assert {variable: port for port, variable in reversed(settings.used_ports())} == {
            "SMTP_PORT": 11025,
            "GATEWAY_PORT": 8080,
            "GATEWAY_GRPC_PORT": 9090,
            "SERVER_PORT": 50051,
            "POSTGRES_PORT": 15432,
            "REDIS_PORT": 16379,
            "METRICS_PORT": 9101,
        }

    def test_empty_variable_counts_as_unset(self) -> None:
        settings = read_settings({"DATABASE_URL": "", "GATEWAY_PORT": " "})
        assert settings.database_url is None
        assert settings.gateway_port == 8080

    @pytest.mark.parametrize("text", ["0", "65536", "-1", "x", "8080.5", "٨٠"])
    def test_bad_port_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(StackError, match=r"^GATEWAY_PORT must be a number from 1 to 65535, not "):
            read_settings({"GATEWAY_PORT": text})

    def test_calls_of_one_address_are_limited_on_request(self) -> None:
        assert read_settings({}).gateway_calls_per_second == 100_000
        assert read_settings({"GATEWAY_CALLS_PER_SECOND": "5"}).gateway_calls_per_second == 5
        with pytest.raises(StackError, match=r"^GATEWAY_CALLS_PER_SECOND must be a number from 1 to 1000000, not '0'"):
            read_settings({"GATEWAY_CALLS_PER_SECOND": "0"})

    def test_metrics_port_zero_takes_no_port(self) -> None:
        variables = [variable for _, variable in read_settings({"METRICS_PORT": "0"}).used_ports()]
        assert "METRICS_PORT" not in variables

    def test_own_databases_take_no_port(self) -> None:
        settings = read_settings({"DATABASE_URL": "postgresql://db/bank", "REDIS_URL": "redis://cache"})
        variables = {variable for _, variable in settings.used_ports()}
        assert variables.isdisjoint({"POSTGRES_PORT", "REDIS_PORT"})
        assert settings.migration_database_url == "postgresql://db/bank"

    def test_no_secret_is_shown(self) -> None:
        settings = read_settings(
            {"DATABASE_URL": "postgresql://u:hidden@db/bank", "REDIS_URL": "redis://:hidden@cache"}
        )
        assert "hidden" not in repr(settings)
