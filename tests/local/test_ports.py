import socket
from dataclasses import replace
from pathlib import Path

import pytest

from local.errors import StackError
from local.ports import check_ports
from local.settings import Settings, read_settings
from tests.conftest import stack_environment


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(stack_environment(tmp_path))


class TestCheckPorts:
    def test_free_ports_pass(self, settings: Settings) -> None:
        check_ports(settings)

    def test_taken_port_names_its_variable(self, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", settings.server_port + 1)) as taken:
            with pytest.raises(StackError) as caught:
                check_ports(settings)
            port = taken.getsockname()[1]
        assert str(caught.value) == f"port {port} is in use: set SERVER_PORT to another one"

    def test_port_used_a_moment_ago_is_free(self, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", settings.redis_port)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            accepted.close()  # closed first on the server's side: its port stays in TIME_WAIT
            client.close()
        check_ports(settings)

    def test_one_port_for_two_things_names_both(self, settings: Settings) -> None:
        both = replace(settings, redis_port=settings.smtp_port)
        with pytest.raises(StackError) as caught:
            check_ports(both)
        assert str(caught.value) == f"port {both.smtp_port} is meant for two things: set REDIS_PORT and SMTP_PORT apart"

    def test_processes_beyond_the_last_port_are_refused(self, settings: Settings) -> None:
        with pytest.raises(StackError, match="port 65536 does not exist: set SERVER_PORT to a lower one"):
            check_ports(replace(settings, server_port=65_535))
