from tools.pin_images import pin

OLD, NEW = "@sha256:" + "0" * 64, "sha256:" + "1" * 64


class TestPin:
    def test_every_image_of_others_gets_the_digest_of_now(self) -> None:
        asked = []

        def find_digest(name: str) -> str:
            asked.append(name)
            return NEW

        text = f"FROM python:3.13{OLD} AS base\nFROM base AS api\nFROM debian:13\n    image: postgres:18{OLD}\n"
        expected = (
            f"FROM python:3.13@{NEW} AS base\nFROM base AS api\nFROM debian:13@{NEW}\n    image: postgres:18@{NEW}\n"
        )
        assert pin(text, find_digest) == expected
        assert sorted(asked) == ["debian:13", "postgres:18", "python:3.13"]

    def test_images_of_this_repository_are_left_alone(self) -> None:
        text = "    image: transactions-api\n    image: transactions-envoy\n"
        assert pin(text, lambda name: NEW) == text
