import io

from local.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(output: io.StringIO, total: int) -> str:
    progress = Progress(output)
    progress.begin("ordering", total)
    for _ in range(total):
        progress.step()
    return output.getvalue()


class TestProgress:
    def test_line_of_a_terminal_is_written_over_until_it_is_whole(self) -> None:
        text = shown(Terminal(), 2)
        assert text.split("\r")[1:] == [
            "ordering   [..............................] 0/2",
            "ordering   [###############...............] 1/2",
            "ordering   [##############################] 2/2\n",
        ]

    def test_elsewhere_every_tenth_is_a_line(self) -> None:
        lines = shown(io.StringIO(), 1_000).splitlines()
        assert [line.split()[-1] for line in lines] == [f"{number}00/1000" for number in range(1, 11)]

    def test_few_steps_are_a_line_each(self) -> None:
        assert [line.split()[-1] for line in shown(io.StringIO(), 3).splitlines()] == ["1/3", "2/3", "3/3"]

    def test_stage_without_steps_is_not_shown(self) -> None:
        assert shown(io.StringIO(), 0) == shown(Terminal(), 0) == ""
