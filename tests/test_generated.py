"""gen/ is committed; these tests fail when it is not what proto/ and db/ say."""

import json
import shutil
from pathlib import Path

import pytest

from tools.generate import ROOT, GenerateError, build, differing, replace
from tools.openapi import DIGEST, INSTALL


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of everything that generating reads."""
    root = tmp_path / "checkout"
    for folder in ("proto", "db", "gen"):
        shutil.copytree(ROOT / folder, root / folder)
    (root / "tools").mkdir()
    for file in ("tools/sqlc_plugin", "pyproject.toml"):
        shutil.copy(ROOT / file, root / file)
    return root


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Where a build goes."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    return folder


@pytest.fixture
def without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which neither Go nor its programs are installed."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "home"))


class TestGenerated:
    def test_gen_is_what_its_sources_say(self, fresh: Path) -> None:
        build(ROOT, fresh)
        assert differing(fresh, ROOT / "gen") == [], "run make gen"

    def test_second_build_is_the_same_to_the_byte(self, fresh: Path, tmp_path: Path) -> None:
        again = tmp_path / "again"
        again.mkdir()
        build(ROOT, fresh)
        build(ROOT, again)
        assert differing(fresh, again) == []


class TestDiffering:
    def test_changed_missing_and_left_over_files_are_named_and_replaced(self, fresh: Path, tmp_path: Path) -> None:
        build(ROOT, fresh)
        gen = tmp_path / "gen"
        shutil.copytree(fresh, gen)
        (gen / "bankdb/users.py").unlink()
        (gen / "bank.binpb").write_bytes(b"")
        (gen / "old").mkdir()
        (gen / "old/left_over.py").touch()
        (gen / "old/__pycache__").mkdir()
        (gen / "old/__pycache__/left_over.pyc").touch()
        assert differing(fresh, gen) == ["bank.binpb", "bankdb/users.py", "old/left_over.py"]
        assert replace(fresh, gen) == ["bank.binpb", "bankdb/users.py", "old/left_over.py"]
        assert differing(fresh, gen) == []
        assert not (gen / "old").exists()


class TestBuild:
    def test_changed_query_shows_as_a_difference(self, checkout: Path, fresh: Path, without_go: None) -> None:
        query = checkout / "db/queries/users.sql"
        query.write_text(query.read_text() + "\n-- name: CountUsers :one\nSELECT count(*) FROM users;\n")
        build(checkout, fresh)
        assert differing(fresh, checkout / "gen") == ["bankdb/users.py"]

    def test_openapi_is_compared_by_digest_without_go(self, checkout: Path, fresh: Path, without_go: None) -> None:
        remarks = build(checkout, fresh)
        assert [remark for remark in remarks if "digest" in remark] == remarks
        assert len(remarks) == 1
        assert (fresh / "openapi.json").read_bytes() == (checkout / "gen/openapi.json").read_bytes()

    def test_stale_openapi_is_refused_without_go_and_the_command_named(
        self, checkout: Path, fresh: Path, without_go: None
    ) -> None:
        contract = checkout / "proto/bank/v1/user_service.proto"
        contract.write_text(contract.read_text().replace("// Reads one user.", "// Reads exactly one user."))
        with pytest.raises(GenerateError, match=r"openapi\.json does not match the contract") as refused:
            build(checkout, fresh)
        assert INSTALL in str(refused.value)

    def test_openapi_made_for_other_public_methods_is_refused_without_go(
        self, checkout: Path, fresh: Path, without_go: None
    ) -> None:
        openapi = checkout / "gen/openapi.json"
        openapi.write_text(json.dumps({**json.loads(openapi.read_text()), DIGEST: "0" * 64}))
        with pytest.raises(GenerateError, match=r"openapi\.json does not match the contract"):
            build(checkout, fresh)

    def test_broken_proto_is_refused_with_its_place(self, checkout: Path, fresh: Path) -> None:
        (checkout / "proto/bank/v1/broken.proto").write_text('syntax = "proto3";\nmessage {}\n')
        with pytest.raises(GenerateError, match=r"bank/v1/broken\.proto:2"):
            build(checkout, fresh)

    def test_broken_query_is_refused_with_its_place(self, checkout: Path, fresh: Path) -> None:
        (checkout / "db/queries/broken.sql").write_text("-- name: Broken :one\nSELECT nothing FROM users;\n")
        with pytest.raises(GenerateError, match=r"queries/broken\.sql:2.*nothing"):
            build(checkout, fresh)
