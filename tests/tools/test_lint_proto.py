"""tools/lint_proto: a contract that is unclear, untidy or breaks a released client is refused."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.generate import ROOT
from tools.lint_proto import baseline, check

TRANSFERS = "proto/bank/v1/transfer_service.proto"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose first commit is this contract."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path / "buf.yaml")
    (tmp_path / "gen").mkdir()
    shutil.copy(ROOT / "gen/bank.binpb", tmp_path / "gen/bank.binpb")
    git(tmp_path, "init", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--message=First")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)


def change(root: Path, before: str, after: str) -> None:
    text = (root / TRANSFERS).read_text()
    assert before in text
    (root / TRANSFERS).write_text(text.replace(before, after, 1))


class TestCheck:
    def test_contract_is_in_order(self, checkout: Path) -> None:
        assert check(checkout, "main") == []

    def test_element_without_a_comment_is_refused(self, checkout: Path) -> None:
        change(checkout, "  // UUIDv7 made by the server.\n", "")
        complaints = check(checkout, None)
        assert any("bank/v1/transfer_service.proto" in line and "non-empty comment" in line for line in complaints)

    def test_name_against_the_style_is_refused(self, checkout: Path) -> None:
        change(checkout, "string hold_id = 13;", "string holdId = 13;")
        assert any('"holdId" should be lower_snake_case' in line for line in check(checkout, None))

    def test_untidy_line_is_shown_as_a_diff(self, checkout: Path) -> None:
        change(checkout, "string hold_id = 13;", "string  hold_id = 13;")
        complaints = check(checkout, None)
        assert complaints[0] == "buf format:"
        assert "-  string  hold_id = 13;" in complaints

    def test_removed_field_breaks_released_clients(self, checkout: Path) -> None:
        change(checkout, "  // The hold that this one captured; empty if none.\n  string hold_id = 13;\n", "")
        assert check(checkout, None) == []
        assert any('field "13" with name "hold_id"' in line for line in check(checkout, "main"))

    def test_added_field_breaks_nobody(self, checkout: Path) -> None:
        change(checkout, "string hold_id = 13;", "string hold_id = 13;\n  // New.\n  string batch_id = 16;")
        assert check(checkout, "main") == []

    def test_revision_without_a_contract_is_refused(self, checkout: Path) -> None:
        assert check(checkout, "v9") == ["revision v9 has no gen/bank.binpb to compare with"]

    def test_source_that_does_not_compile_is_refused_with_its_place(self, checkout: Path) -> None:
        change(checkout, "string hold_id = 13;", "strin hold_id = 13;")
        assert "bank/v1/transfer_service.proto" in check(checkout, None)[0]


class TestBaseline:
    def test_newest_tag_comes_before_the_main_branch(self, checkout: Path) -> None:
        assert baseline(checkout) == "main"
        git(checkout, "tag", "v0.1.0")
        assert baseline(checkout) == "v0.1.0"

    def test_without_history_there_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert baseline(tmp_path) is None
