from datetime import UTC, datetime, timedelta

from server.clock import DatabaseClock

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


class TestDatabaseClock:
    def test_machine_is_asked_until_the_database_tells(self) -> None:
        machine = [1000.0]
        clock = DatabaseClock(lambda: machine[0], lambda: 5.0)
        assert clock() == 1000.0
        machine[0] = 2000.0
        assert clock() == 2000.0

    def test_time_goes_on_from_what_was_told_whatever_the_machine_says(self) -> None:
        machine, elapsed = [1000.0], [5.0]
        clock = DatabaseClock(lambda: machine[0], lambda: elapsed[0])
        clock.tell(NOON)
        machine[0], elapsed[0] = 0.0, 65.0
        assert clock() == NOON.timestamp() + 60

    def test_later_word_of_the_database_counts(self) -> None:
        clock = DatabaseClock(elapsed=lambda: 5.0)
        clock.tell(NOON)
        clock.tell(NOON - timedelta(minutes=1))
        assert clock() == NOON.timestamp() - 60
