"""How many calls may be inside, waiting included, so that what they wait for stays within bounds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from server.errors import Overloaded


class Admission:
    """Lets a bounded number of calls in, and a share of it of each user.

    Args:
        most: How many may be inside.
        most_of_one: How many of them one user's.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._inside = 0
        self._by_user: Counter[UUID] = Counter()

    @contextmanager
    def admitted(self, user_id: UUID) -> Iterator[None]:
        """Be inside until the block ends.

        Raises:
            Overloaded: There is no room, or the user's share is used up.
        """
        if self._inside >= self._most or self._by_user[user_id] >= self._most_of_one:
            raise Overloaded
        self._inside += 1
        self._by_user[user_id] += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._by_user[user_id] -= 1
            if not self._by_user[user_id]:
                del self._by_user[user_id]
