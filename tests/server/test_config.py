"""Settings: what the environment may say, and what stops the process from starting."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.config import Settings, SettingsRefusedError, read_settings

GOOD = {
    "BANK_ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://bank_app:database-secret@db.example/bank",
    "REDIS_URL": "redis://:redis-secret@redis.example:6379/0",
    "TOKEN_KEYS_FILE": "/run/secrets/keys.json",
    "PUBLIC_URL": "https://bank.example/",
    "SMTP_HOST": "mail.example",
    "SMTP_TLS": "starttls",
    "SMTP_PASSWORD": "mail-secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a process in production, and nothing of the machine's own."""
    for name in (*(field.upper() for field in Settings.model_fields), "BANK_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


class TestSettings:
    def test_everything_unsaid_has_a_default(self) -> None:
        settings = Settings()
        assert settings.is_production
        assert (settings.server_host, settings.server_port, settings.server_processes) == ("127.0.0.1", 50051, 2)
        assert (settings.token_format, settings.access_token_ttl_s) == ("paseto", 900)
        assert settings.token_keys_file == Path("/run/secrets/keys.json")
        assert settings.public_origin == "https://bank.example"
        assert (settings.sign_in_failures_per_hour, settings.sign_ups_per_hour, settings.mails_per_hour) == (60, 20, 20)
        assert settings.payees_per_hour == 120
        assert (settings.calls_per_second, settings.sign_ins_per_second) == (100, 5)
        assert (settings.order_lifetime_s, settings.order_delivery_delay_s) == (7 * 24 * 3600, 0)

    def test_unsaid_environment_is_production(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("BANK_ENVIRONMENT")
        assert Settings().is_production

    @pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "TOKEN_KEYS_FILE"])
    def test_missing_one_is_named(self, environment: pytest.MonkeyPatch, name: str) -> None:
        environment.delenv(name)
        with pytest.raises(ValidationError, match=name.lower()):
            Settings()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("BANK_ENVIRONMENT", "prod"),
            ("SERVER_PORT", "0"),
            ("SERVER_PORT", "65536"),
            ("SERVER_PORT", "http"),
            ("SERVER_PROCESSES", "0"),
            ("SERVER_PROCESSES", "65"),
            ("METRICS_PORT", "-1"),
            ("SHUTDOWN_GRACE_S", "0"),
            ("READ_POOL_SIZE", "0"),
            ("LEDGER_SIDE_CONNECTIONS", "0"),
            ("TOKEN_FORMAT", "none"),
            ("ACCESS_TOKEN_TTL_S", "9"),
            ("ACCESS_TOKEN_TTL_S", "3601"),
            ("ORDER_LIFETIME_S", "59"),
            ("ORDER_LIFETIME_S", "2678401"),
            ("ORDER_DELIVERY_DELAY_S", "-1"),
            ("ORDER_DELIVERY_DELAY_S", "604801"),
            ("ORDER_DELIVERY_DELAY_S", "nan"),
            ("SESSION_TTL_S", "59"),
            ("PASSWORD_PROCESSES", "0"),
            ("SIGN_IN_FAILURES_PER_HOUR", "-1"),
            ("SIGN_UPS_PER_HOUR", "many"),
            ("MAILS_PER_HOUR", "-1"),
            ("PAYEES_PER_HOUR", "-1"),
            ("CALLS_PER_SECOND", "-1"),
            ("SIGN_INS_PER_SECOND", "-1"),
            ("DEFAULT_CURRENCY", "usd"),
            ("SMTP_PORT", "0"),
            ("SMTP_TLS", "maybe"),
            ("SMTP_CA_FILE", "/nowhere/ca.pem"),
            ("MAIL_FROM", ""),
            ("MAIL_FROM", "The Bank"),
            ("MAIL_FROM", "The Bank <no-reply>"),
            ("MAIL_FROM", "no-reply@bank.example, mallory@evil.example"),
            ("MAIL_FROM", "The Bank <no-reply@bank.example>\r\nBcc: mallory@evil.example"),
            ("MAIL_FROM", "The\nBank <no-reply@bank.example>"),
            ("PUBLIC_URL", "bank.example"),
            ("PUBLIC_URL", "ftp://bank.example"),
            ("PUBLIC_URL", "https://"),
            ("PUBLIC_URL", "https://bank.example/?next="),
            ("PUBLIC_URL", "https://bank.example/#token="),
            ("LOG_LEVEL", "trace"),
        ],
    )
    def test_value_outside_its_bounds_is_refused(self, environment: pytest.MonkeyPatch, name: str, value: str) -> None:
        environment.setenv(name, value)
        with pytest.raises(ValidationError, match=f"(?i)^1 validation error for Settings\n{name}"):
            Settings()

    def test_settings_cannot_be_changed(self) -> None:
        settings = Settings()
        with pytest.raises(ValidationError, match="frozen"):
            settings.server_port = 1  # type: ignore[misc]  # that is the point

    def test_secrets_are_shown_nowhere(self) -> None:
        settings = Settings()
        shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
        assert "secret@" not in shown
        assert "mail-secret" not in shown


class TestProduction:
    @pytest.mark.parametrize(
        ("name", "value", "advice"),
        [
            ("PUBLIC_URL", "http://bank.example", "PUBLIC_URL must begin with https://"),
            ("REDIS_URL", "redis://redis.example:6379/0", "REDIS_URL must carry a password"),
            ("DATABASE_URL", "postgresql://bank_app@db.example/bank", "DATABASE_URL must carry a password"),
            ("SMTP_TLS", "none", "SMTP_TLS must be starttls or tls for a remote mail server"),
        ],
    )
    def test_unsafe_one_is_refused_with_advice(
        self, environment: pytest.MonkeyPatch, name: str, value: str, advice: str
    ) -> None:
        environment.setenv(name, value)
        with pytest.raises(ValidationError) as refused:
            Settings()
        assert advice in str(refused.value)
        assert "secret" not in str(refused.value).replace("/run/secrets", "")

    def test_all_unsafe_ones_are_told_at_once(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("PUBLIC_URL", "http://bank.example")
        environment.setenv("SMTP_TLS", "none")
        with pytest.raises(ValidationError, match=r"PUBLIC_URL .*; SMTP_TLS "):
            Settings()

    @pytest.mark.parametrize("name", ["local", "test"])
    def test_elsewhere_they_are_taken(self, environment: pytest.MonkeyPatch, name: str) -> None:
        environment.setenv("BANK_ENVIRONMENT", name)
        environment.setenv("PUBLIC_URL", "http://localhost:8080")
        environment.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
        environment.setenv("DATABASE_URL", "postgresql://bank_app@127.0.0.1/bank")
        environment.setenv("SMTP_TLS", "none")
        assert not Settings().is_production

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_mail_server_on_the_machine_itself_needs_no_tls(self, environment: pytest.MonkeyPatch, host: str) -> None:
        environment.setenv("SMTP_TLS", "none")
        environment.setenv("SMTP_HOST", host)
        assert Settings().smtp_host == host


class TestReadSettings:
    def test_good_environment_is_read(self) -> None:
        assert read_settings() == Settings()

    def test_every_fault_is_named_by_its_variable_and_never_by_its_value(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("REDIS_URL")
        environment.setenv("SERVER_PORT", "seven-blue-herons")
        environment.setenv("BANK_ENVIRONMENT", "seven-blue-herons")
        with pytest.raises(SettingsRefusedError) as refused:
            read_settings()
        assert [fault.partition(": ")[0] for fault in str(refused.value).split("; ")] == [
            "BANK_ENVIRONMENT",
            "REDIS_URL",
            "SERVER_PORT",
        ]
        assert "seven-blue-herons" not in str(refused.value)

    def test_unsafe_production_is_told_with_advice(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("PUBLIC_URL", "http://bank.example")
        with pytest.raises(SettingsRefusedError, match=r"^PUBLIC_URL must begin with https://$"):
            read_settings()


class TestSecretsDir:
    """Secrets as files, so that they stand in no environment: read where a variable is not set."""

    def test_files_stand_for_variables_that_are_not_set(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "database_url").write_text("postgresql://bank_app:from-file@db.example/bank\n")
        (tmp_path / "REDIS_URL").write_text("redis://:from-file@redis.example/0")
        (tmp_path / "SMTP_PASSWORD").write_text("from-file")
        (tmp_path / "..data").mkdir()
        environment.setenv("SECRETS_DIR", str(tmp_path))
        for name in ("DATABASE_URL", "REDIS_URL"):
            environment.delenv(name)
        settings = read_settings()
        assert settings.database_url.get_secret_value() == "postgresql://bank_app:from-file@db.example/bank"
        assert settings.redis_url.get_secret_value() == "redis://:from-file@redis.example/0"
        assert settings.smtp_password.get_secret_value() == "mail-secret"

    def test_folder_that_does_not_exist_is_refused(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        environment.setenv("SECRETS_DIR", str(tmp_path / "absent"))
        with pytest.raises(SettingsRefusedError, match="SECRETS_DIR: there is no such folder"):
            read_settings()

    def test_content_of_a_refused_file_is_not_repeated(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "mail_from").write_text("file-secret")
        environment.setenv("SECRETS_DIR", str(tmp_path))
        with pytest.raises(SettingsRefusedError) as caught:
            read_settings()
        assert "MAIL_FROM" in str(caught.value)
        assert "file-secret" not in str(caught.value)
