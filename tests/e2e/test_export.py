"""A long statement as CSV through the gateway: complete, and never in memory as a whole."""

import asyncio
import csv
import json
from dataclasses import dataclass
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from time import sleep
from uuid import UUID, uuid4

import pytest

from tests.e2e.conftest import Bank, Person
from tests.server.history import fill_history

ENTRIES = 50_000
GROWTH_MAX_KIB = 8 * 1024


@dataclass(frozen=True)
class Scene:
    """Somebody with an account of 50,000 entries."""

    owner: Person
    account_id: str


@pytest.fixture(scope="module")
async def scene(bank: Bank) -> Scene:
    owner = await bank.person()
    account_id = await bank.account(owner)
    await fill_history(bank.owner, UUID(account_id), ENTRIES, "a description of some length, as people write them")
    return Scene(owner, account_id)


def server_processes(bank: Bank) -> list[Path]:
    """Folders in /proc of the processes that serve gRPC."""
    port = f"SERVER_PORT={bank.stack.environment['SERVER_PORT']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"-m\0server\0" in (folder / "cmdline").read_bytes() and port in (folder / "environ").read_bytes():
                found.append(folder)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return found


def memory_kib(folder: Path, field: str) -> int:
    lines = (folder / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def download(bank: Bank, scene: Scene, query: str = "", pause_s: float = 0) -> tuple[int, str, str]:
    """Status, content type and text; with a pause after each 256 KiB read."""
    connection = HTTPConnection("127.0.0.1", int(bank.stack.environment["GATEWAY_PORT"]), timeout=60)
    try:
        path = f"/v1/accounts/{scene.account_id}/statement:export{query}"
        connection.request("GET", path, headers={"authorization": f"Bearer {scene.owner.token}"})
        response = connection.getresponse()
        pieces = []
        while piece := response.read(256 * 1024):
            pieces.append(piece)
            sleep(pause_s)
        return response.status, response.headers["content-type"], b"".join(pieces).decode()
    finally:
        connection.close()


class TestExportStatement:
    async def test_everything_arrives_as_csv(self, bank: Bank, scene: Scene) -> None:
        status, content_type, text = await asyncio.to_thread(download, bank, scene)
        assert (status, content_type) == (200, "text/csv; charset=utf-8; header=present")
        rows = list(csv.DictReader(StringIO(text, newline="")))
        assert [rows[0]["row"], rows[-1]["row"]] == ["OPENING", "CLOSING"]
        assert len(rows) == ENTRIES + 2
        amounts = sum(int(row["amount_minor"]) for row in rows[1:-1])
        assert int(rows[0]["balance_after_minor"]) + amounts == int(rows[-1]["balance_after_minor"]) == ENTRIES

    async def test_server_keeps_little_of_it_for_a_slow_reader(self, bank: Bank, scene: Scene) -> None:
        processes = server_processes(bank)
        assert len(processes) >= 2
        before = {}
        for folder in processes:
            (folder / "clear_refs").write_text("5")  # the peak counts from here
            before[folder] = memory_kib(folder, "VmRSS")
        downloads = [asyncio.to_thread(download, bank, scene, pause_s=0.02) for _ in range(4)]
        assert all(text.count("CLOSING") == 1 for _, _, text in await asyncio.gather(*downloads))
        growth = {folder.name: memory_kib(folder, "VmHWM") - rss for folder, rss in before.items()}
        assert max(growth.values()) < GROWTH_MAX_KIB

    async def test_refusal_is_an_error_in_json(self, bank: Bank, scene: Scene) -> None:
        absent = Scene(scene.owner, str(uuid4()))
        status, content_type, text = await asyncio.to_thread(download, bank, absent)
        assert (status, content_type) == (404, "application/json")
        assert json.loads(text)["details"][0]["reason"] == "NOT_FOUND"
        status, _, text = await asyncio.to_thread(download, bank, scene, "?start_time=yesterday")
        assert (status, json.loads(text)["code"]) == (400, 3)
