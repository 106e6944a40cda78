"""ListTransfers by a label: whose, which, page by page."""

import json
from uuid import UUID, uuid4

import pytest
from bank.v1.transfer_service_pb2 import ListTransfersRequest

from server.caller import Caller, Role
from server.errors import InvalidPageToken, InvalidRequest, NotFound
from server.ledger.movements import Posted
from server.page_token import PageTokens
from server.transfers.messages import parse_list_transfers
from server.transfers.operations import TransferReader
from tests.server.bank import Bank, Person, movement


class Scene:
    """Alice sends with labels, and so does Bob to her."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.reader = TransferReader(bank.database, PageTokens(bytes(32)))

    async def begin(self) -> "Scene":
        self.alice, self.bob = await self.bank.person(), await self.bank.person()
        self.own, self.second = await self.bank.account(self.alice, 100), await self.bank.account(self.alice, 100)
        self.bobs = await self.bank.account(self.bob, 100)
        self.red = [await self.send(self.alice, self.own, self.bobs, colour="red", size=str(n)) for n in range(5)]
        self.red.append(await self.send(self.alice, self.second, self.bobs, colour="red"))
        self.blue = await self.send(self.alice, self.own, self.bobs, colour="blue", empty="")
        self.plain = await self.send(self.alice, self.own, self.bobs)
        self.bobs_red = await self.send(self.bob, self.bobs, self.own, colour="red")
        return self

    async def send(self, who: Person, source: UUID, destination: UUID, **labels: str) -> UUID:
        made = movement(who, source, destination, 1, reference=f"{uuid4()}")._replace(
            metadata=json.dumps(labels, sort_keys=True) if labels else None
        )
        posted = await self.bank.ledger.post(made)
        assert isinstance(posted, Posted)
        return posted.transfer_id

    async def found(self, who: Caller, page_size: int = 50, **fields: str) -> list[UUID]:
        """Ids on all pages, newest first."""
        ids: list[UUID] = []
        token = ""
        while not ids or token:
            request = ListTransfersRequest(page_size=page_size, page_token=token, **fields)
            rows, token = await self.reader.page(parse_list_transfers(request), who)
            ids += [row.id for row in rows]
            if not rows:
                break
        return ids


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


def caller(person: Person, *roles: Role) -> Caller:
    return Caller(person.user_id, person.session_id, frozenset(roles))


class TestLabel:
    @pytest.mark.parametrize("page_size", [1, 2, 6, 50])
    async def test_own_transfers_with_the_label_page_by_page(self, scene: Scene, page_size: int) -> None:
        found = await scene.found(caller(scene.alice), page_size, metadata_key="colour", metadata_value="red")
        assert found == scene.red[::-1]

    async def test_label_is_matched_as_a_whole(self, scene: Scene) -> None:
        alice = caller(scene.alice)
        assert await scene.found(alice, metadata_key="colour", metadata_value="re") == []
        assert await scene.found(alice, metadata_key="size", metadata_value="red") == []
        assert await scene.found(alice, metadata_key="colour") == []
        assert await scene.found(alice, metadata_key="empty") == [scene.blue]

    async def test_staff_find_everyones(self, scene: Scene) -> None:
        for role in (Role.BANKER, Role.ADMIN):
            found = await scene.found(
                caller(await scene.bank.person(), role), 3, metadata_key="colour", metadata_value="red"
            )
            assert found == [scene.bobs_red, *scene.red[::-1]]

    async def test_other_filters_apply_too(self, scene: Scene) -> None:
        alice = caller(scene.alice)
        red = {"metadata_key": "colour", "metadata_value": "red"}
        assert await scene.found(alice, account_id=str(scene.second), **red) == [scene.red[-1]]
        assert await scene.found(alice, kind="TRANSFER_KIND_DEPOSIT", **red) == []
        reference = await scene.bank.pool.fetchval("SELECT reference FROM transfers WHERE id = $1", scene.red[0])
        assert await scene.found(alice, reference=reference, **red) == [scene.red[0]]
        assert await scene.found(alice, reference=reference, metadata_key="colour", metadata_value="blue") == []
        with pytest.raises(NotFound):
            await scene.found(alice, account_id=str(scene.bobs), **red)

    async def test_value_without_a_key_is_refused(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await scene.found(caller(scene.alice), metadata_value="red")
        assert [violation.field for violation in refused.value.violations] == ["metadata_key"]

    async def test_token_of_another_label_is_refused(self, scene: Scene) -> None:
        request = ListTransfersRequest(page_size=1, metadata_key="colour", metadata_value="red")
        _, token = await scene.reader.page(parse_list_transfers(request), caller(scene.alice))
        request = ListTransfersRequest(page_size=1, metadata_key="colour", metadata_value="blue", page_token=token)
        with pytest.raises(InvalidPageToken):
            await scene.reader.page(parse_list_transfers(request), caller(scene.alice))
