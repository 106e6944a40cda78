import pytest

from tools.release_notes import CHANGELOG, NoNotesError, notes

TEXT = "# Changes\n\n## 1.10.0 (2026-11-21)\n\nNewer.\n\n## 1.1\n\n- Older.\n- Still.\n\n## 1.0.0\n\n"


class TestNotes:
    @pytest.mark.parametrize(("version", "text"), [("1.10.0", "Newer."), ("1.1", "- Older.\n- Still.")])
    def test_section_of_the_version_is_returned(self, version: str, text: str) -> None:
        assert notes(TEXT, version) == text

    @pytest.mark.parametrize("version", ["1.1.0", "1", "1.10", "1x10.0", "1.0.0", ""])
    def test_version_without_text_is_refused(self, version: str) -> None:
        with pytest.raises(NoNotesError, match=r"^CHANGELOG\.md says nothing below ## "):
            notes(TEXT, version)

    def test_version_of_this_checkout_is_described(self) -> None:
        pyproject = (CHANGELOG.parent / "pyproject.toml").read_text()
        version = pyproject.split('version = "')[1].split('"')[0]
        assert notes(CHANGELOG.read_text(), version)
