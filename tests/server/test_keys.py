"""The keys file: what is refused, and that no message tells a key."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.settings import ROOT
from server.config import Settings
from server.keys import KeysRefusedError, complete, load, main, write_new


def settings(path: Path, environment: str = "test") -> Settings:
    return Settings.model_validate(
        {
            "BANK_ENVIRONMENT": environment,
            "database_url": "postgresql://bank_app:password@localhost/bank",
            "redis_url": "redis://:password@localhost",
            "public_url": "https://bank.example.com",
            "token_keys_file": path,
        }
    )


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """What a good file holds."""
    write_new(tmp_path / "good.json")
    found: dict[str, Any] = json.loads((tmp_path / "good.json").read_text())
    return found


def refusal(tmp_path: Path, content: object) -> str:
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(KeysRefusedError) as refused:
        load(settings(path))
    return str(refused.value)


class TestLoad:
    def test_new_file_is_accepted(self, tmp_path: Path) -> None:
        write_new(tmp_path / "keys.json")
        keys = load(settings(tmp_path / "keys.json", "production"))
        assert len(keys.access_token_keys) == 1
        assert len(keys.page_token_key) == len(keys.mail_token_key) == len(keys.webhook_key) == 32

    def test_two_access_token_keys_are_kept_in_order(self, tmp_path: Path, content: dict[str, Any]) -> None:
        second = encode(os.urandom(32))
        first_kid = load(settings(tmp_path / "good.json")).access_token_keys[0].kid
        for order in ([*content["access_token_keys"], second], [second, *content["access_token_keys"]]):
            (tmp_path / "two.json").write_text(json.dumps({**content, "access_token_keys": order}))
            kids = [key.kid for key in load(settings(tmp_path / "two.json")).access_token_keys]
            assert kids.index(first_kid) == order.index(content["access_token_keys"][0])

    def test_missing_file_is_refused_with_the_command_that_makes_one(self, tmp_path: Path) -> None:
        with pytest.raises(KeysRefusedError, match=r"python -m server\.keys new"):
            load(settings(tmp_path / "absent.json"))

    def test_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(KeysRefusedError, match="cannot be read"):
            load(settings(tmp_path))

    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620])
    def test_file_open_to_others_is_refused_in_production_only(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "keys.json"
        write_new(path)
        path.chmod(mode)
        with pytest.raises(KeysRefusedError, match="chmod 600"):
            load(settings(path, "production"))
        load(settings(path, "local"))

    def test_file_readable_by_its_group_is_accepted_as_mounted_secrets_are(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        write_new(path)
        path.chmod(0o440)
        load(settings(path, "production"))

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"keys"', "{}"])
    def test_other_content_is_refused(self, tmp_path: Path, text: str) -> None:
        assert "it must be" in refusal(tmp_path, text)

    def test_unknown_field_is_refused(self, tmp_path: Path, content: dict[str, Any]) -> None:
        assert "exactly" in refusal(tmp_path, {**content, "session_key": content["page_token_key"]})

    @pytest.mark.parametrize("name", ["access_token_keys", "page_token_key", "mail_token_key", "webhook_key"])
    def test_missing_key_is_refused(self, tmp_path: Path, content: dict[str, Any], name: str) -> None:
        assert name in refusal(tmp_path, {field: value for field, value in content.items() if field != name})

    @pytest.mark.parametrize("count", [0, 3])
    def test_wrong_number_of_access_token_keys_is_refused(
        self, tmp_path: Path, content: dict[str, Any], count: int
    ) -> None:
        listed = [encode(os.urandom(32)) for _ in range(count)]
        assert "access_token_keys" in refusal(tmp_path, {**content, "access_token_keys": listed})

    @pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
    def test_key_of_another_length_is_refused(self, tmp_path: Path, content: dict[str, Any], length: int) -> None:
        assert "page_token_key must have 32 bytes" in refusal(
            tmp_path, {**content, "page_token_key": encode(os.urandom(length))}
        )

    @pytest.mark.parametrize("value", [None, 7, "!" * 43, ["x"]])
    def test_key_that_is_no_base64url_is_refused(self, tmp_path: Path, content: dict[str, Any], value: object) -> None:
        assert "mail_token_key must be" in refusal(tmp_path, {**content, "mail_token_key": value})

    @pytest.mark.parametrize("raw", [bytes(32), b"\xff" * 32, bytes(range(8)) * 4, b"replace this sample key with one"])
    def test_sample_key_is_refused(self, tmp_path: Path, content: dict[str, Any], raw: bytes) -> None:
        assert "sample" in refusal(tmp_path, {**content, "access_token_keys": [encode(raw)]})

    def test_one_key_for_two_purposes_is_refused(self, tmp_path: Path, content: dict[str, Any]) -> None:
        page, access = content["page_token_key"], content["access_token_keys"][0]
        for doubled in (
            {**content, "mail_token_key": page},
            {**content, "webhook_key": page},
            {**content, "page_token_key": access},
            {**content, "access_token_keys": [access, access]},
        ):
            assert "different" in refusal(tmp_path, doubled)

    def test_public_key_as_secret_is_refused(self, tmp_path: Path, content: dict[str, Any]) -> None:
        private_key = load(settings(tmp_path / "good.json")).access_token_keys[0].private_key
        public = encode(private_key.public_key().public_bytes_raw())
        assert "different" in refusal(tmp_path, {**content, "page_token_key": public})

    def test_no_refusal_or_repr_tells_a_key(self, tmp_path: Path, content: dict[str, Any]) -> None:
        secret = content["page_token_key"]
        assert secret not in refusal(tmp_path, {**content, "mail_token_key": secret})
        assert secret[:-1] not in refusal(tmp_path, {**content, "page_token_key": secret[:-1]})
        keys = load(settings(tmp_path / "good.json"))
        assert repr(keys.page_token_key) not in repr(keys)
        assert "Ed25519" not in repr(keys)


class TestNew:
    def test_file_is_readable_by_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        run = subprocess.run(
            [sys.executable, "-m", "server.keys", "new", str(path)], check=True, capture_output=True, text=True
        )
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text())["page_token_key"] not in run.stdout + run.stderr

    def test_existing_file_is_left_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "keys.json"
        write_new(path)
        before = path.read_text()
        assert main(["new", str(path)]) == 1
        assert path.read_text() == before
        assert "left alone" in capsys.readouterr().err

    def test_path_that_cannot_be_written_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["new", str(tmp_path / "absent" / "keys.json")]) == 1
        assert "cannot be read or written" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [[], ["new"], ["old", "x"], ["new", "x", "y"]])
    def test_other_arguments_print_the_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        assert "usage" in capsys.readouterr().err

    def test_two_files_share_no_key(self, tmp_path: Path) -> None:
        write_new(tmp_path / "one.json")
        write_new(tmp_path / "two.json")
        one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
        assert all(one[field] != two[field] for field in one)


class TestComplete:
    def test_missing_key_is_added_and_the_others_stay(self, tmp_path: Path, content: dict[str, Any]) -> None:
        path = tmp_path / "keys.json"
        old = {name: key for name, key in content.items() if name != "webhook_key"}
        path.write_text(json.dumps(old))
        assert main(["complete", str(path)]) == 0
        completed = json.loads(path.read_text())
        assert completed.items() >= old.items()
        assert completed["webhook_key"] not in content.values()
        assert path.stat().st_mode & 0o777 == 0o600
        load(settings(path))

    def test_complete_file_is_left_alone(self, tmp_path: Path, content: dict[str, Any]) -> None:
        before = (tmp_path / "good.json").stat()
        complete(tmp_path / "good.json")
        assert (tmp_path / "good.json").stat() == before

    @pytest.mark.parametrize("text", ["", "[]", "{"])
    def test_file_of_something_else_is_left_alone(
        self, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "keys.json"
        path.write_text(text)
        assert main(["complete", str(path)]) == 1
        assert path.read_text() == text
        assert "no keys file" in capsys.readouterr().err

    def test_file_that_is_not_there_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["complete", str(tmp_path / "absent.json")]) == 1
        assert "cannot be" in capsys.readouterr().err


class TestProcess:
    """The server itself, as it would be started in production with keys that are no good."""

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (None, "is missing"),
            ({"page_token_key": encode(bytes(32))}, "sample"),
            ({"mail_token_key": encode(os.urandom(31))}, "must have 32 bytes"),
            ({"mail_token_key": "changeme"}, "must have 32 bytes"),
            ({"page_token_key": "{mail_token_key}"}, "different"),
            ({"access_token_keys": ["{page_token_key}"]}, "different"),
            ({}, "chmod 600"),
        ],
        ids=["missing", "default", "of 31 bytes", "a word", "equal", "equal to a signing key", "open to others"],
    )
    def test_server_refuses_to_start_and_tells_no_key(
        self, tmp_path: Path, content: dict[str, Any], change: dict[str, Any] | None, told: str
    ) -> None:
        path = tmp_path / "keys.json"
        if change is not None:
            changed = json.dumps({**content, **change})
            for name in ("mail_token_key", "page_token_key"):
                changed = changed.replace(f"{{{name}}}", content[name])
            path.write_text(changed)
            path.chmod(0o600 if change else 0o644)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "DATABASE_URL": "postgresql://bank_app:a-password-of-the-database@db.example.com/bank",
            "REDIS_URL": "redis://:a-password-of-redis@redis.example.com",
            "PUBLIC_URL": "https://bank.example.com",
            "SMTP_TLS": "tls",
            "TOKEN_KEYS_FILE": str(path),
        }
        command = [sys.executable, "-m", "server"]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False
        )
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.startswith("refusing to start: ")
        assert told in run.stderr
        for secret in (
            *content["access_token_keys"],
            content["page_token_key"],
            content["mail_token_key"],
            "a-password",
        ):
            assert secret not in run.stderr
