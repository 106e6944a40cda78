"""Settings of the server and the worker: the only reader of their environment."""

import os
from email.message import EmailMessage
from email.policy import SMTP
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsRefusedError(Exception):
    """A setting is missing, malformed or unsafe; the message names its variable and never its value."""


class Settings(BaseSettings):
    """What the environment says, read once at start and then frozen.

    Raises:
        pydantic.ValidationError: A setting is missing, malformed, or unsafe outside `local` and
            `test`; the process then refuses to start.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    environment: Literal["local", "test", "production"] = Field("production", validation_alias="BANK_ENVIRONMENT")
    """Demo data and reflection exist in `local` and `test` only."""

    database_url: SecretStr
    """PostgreSQL URL of the application's login; every connection becomes the role bank_app."""
    redis_url: SecretStr
    """Redis URL, with password."""

    server_host: str = "127.0.0.1"
    server_port: int = Field(50051, ge=1, le=65535)
    """Process i listens on server_port + i."""
    server_processes: int = Field(2, ge=1, le=64)
    metrics_port: int = Field(9101, ge=0, le=65535)
    """Process i serves Prometheus metrics on metrics_port + i, the worker on metrics_port + 100; 0: none."""
    shutdown_grace_s: float = Field(10.0, gt=0)
    """How long calls in flight may take after SIGTERM."""

    read_pool_size: int = Field(8, ge=1)
    """Connections a process keeps for everything but the posting of money."""
    ledger_side_connections: int = Field(4, ge=1)
    """Connections a process keeps, beside the writer's, for calls that wait for a locked account."""

    token_format: Literal["paseto", "jwt"] = "paseto"  # noqa: S105 - the name of a format
    token_keys_file: Path
    """JSON file of mode 0600 with the keys; see server/keys.py."""
    access_token_ttl_s: int = Field(900, ge=10, le=3600)
    session_idle_ttl_s: int = Field(7 * 24 * 3600, ge=60)
    """A session that is not refreshed for so long ends."""
    session_ttl_s: int = Field(30 * 24 * 3600, ge=60)
    """A session ends after so long whatever is done."""
    password_threads: int = Field(2, ge=1)
    """Passwords hashed at once; as many again may wait, then sign-in is refused."""
    sign_ins_per_second: int = Field(5, ge=0)
    """Passwords a process checks; twice as many at once; 0: any number."""

    sign_in_failures_per_hour: int = Field(60, ge=0)
    """How many sign-ins from one address may fail; this and the next two: 0 is any number."""
    sign_ups_per_hour: int = Field(20, ge=0)
    """How many users one address may sign up."""
    mails_per_hour: int = Field(20, ge=0)
    """How many mails one address may ask for: verifications and resets of passwords."""
    calls_per_second: int = Field(100, ge=0)
    """Calls a process takes from one user, without access token from one address; twice as many at once; 0: any."""

    default_currency: str = Field("USD", pattern="^[A-Z]{3}$")
    """Currency of the account that every new user gets."""
    public_url: str = "http://localhost:8080"
    """Where people reach the gateway; mailed links begin with it."""

    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(11025, ge=1, le=65535)
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_tls: Literal["none", "starttls", "tls"] = "none"
    smtp_ca_file: FilePath | None = None
    """Certificates (PEM) that prove the mail server; None: those the system trusts."""
    mail_from: str = "Transactions API <no-reply@localhost>"
    worker_ready_file: Path | None = None
    """The worker creates this file once it takes jobs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_exporter_otlp_endpoint: str = ""
    """Base URL of a collector of traces, which takes OTLP over HTTP; empty: nothing is traced."""
    build_version: str = "development"
    """What is running, as the metrics and traces name it."""

    @property
    def is_production(self) -> bool:
        """Whether unsafe settings are refused."""
        return self.environment == "production"

    @cached_property
    def public_origin(self) -> str:
        """`public_url` without a trailing slash."""
        return self.public_url.rstrip("/")

    @field_validator("public_url")
    @classmethod
    def _refuse_other_than_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be like https://bank.example")
        return url

    @field_validator("mail_from")
    @classmethod
    def _refuse_other_than_one_address(cls, mailbox: str) -> str:
        message = EmailMessage(policy=SMTP)
        message["From"] = mailbox if mailbox.isprintable() else ""
        sender = message["From"]
        if sender.defects or len(sender.addresses) != 1:
            raise ValueError("must be one address, like The Bank <no-reply@bank.example>")
        return mailbox

    @model_validator(mode="after")
    def _refuse_unsafe_production(self) -> "Settings":
        if not self.is_production:
            return self
        unsafe = []
        if not self.public_url.startswith("https://"):
            unsafe.append("PUBLIC_URL must begin with https://")
        if not urlsplit(self.redis_url.get_secret_value()).password:
            unsafe.append("REDIS_URL must carry a password")
        if not urlsplit(self.database_url.get_secret_value()).password:
            unsafe.append("DATABASE_URL must carry a password")
        if self.smtp_tls == "none" and self.smtp_host not in ("127.0.0.1", "::1", "localhost"):
            unsafe.append("SMTP_TLS must be starttls or tls for a remote mail server")
        if unsafe:
            raise ValueError("; ".join(unsafe))
        return self


def read_settings() -> Settings:
    """What the environment says, and for variables that it lacks the files of SECRETS_DIR named after them.

    Raises:
        SettingsRefusedError: The process must not start.
    """
    secrets_dir = os.environ.get("SECRETS_DIR") or None
    if secrets_dir is not None and not Path(secrets_dir).is_dir():
        raise SettingsRefusedError("SECRETS_DIR: there is no such folder")
    try:
        return Settings(_secrets_dir=secrets_dir)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsRefusedError("; ".join(faults)) from None
