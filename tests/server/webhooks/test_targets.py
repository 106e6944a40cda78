"""Where a webhook may lead, and above all where not."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from server.errors import Overloaded, RateLimited
from server.webhooks.targets import NoRoomError, Resolver, Target, Targets, UnfitUrlError, is_public, parse_target

OWNER = uuid4()
PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.1.2.3"),
    *("169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "ff02::1", "4000::1"),
    *("", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "1.2.3.4.5", "8.8.8.8 "),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.169.0.1", "223.255.255.254"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2001:200::1"]


class TestIsPublic:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_address_that_is_not_on_the_internet_is_none(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", PUBLIC)
    def test_address_on_the_internet_is_one(self, address: str) -> None:
        assert is_public(address)


class TestParseTarget:
    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("https://shop.example", Target(True, "shop.example", 443, "/", "shop.example")),
            ("HTTPS://Shop.Example:8443/a?b=c", Target(True, "shop.example", 8443, "/a?b=c", "Shop.Example:8443")),
            ("https://[2606:4700::1]/", Target(True, "2606:4700::1", 443, "/", "[2606:4700::1]")),
            ("https://[2606:4700::1]:1024/", Target(True, "2606:4700::1", 1024, "/", "[2606:4700::1]:1024")),
            ("https://8.8.8.8:443", Target(True, "8.8.8.8", 443, "/", "8.8.8.8:443")),
        ],
    )
    def test_url_is_taken_apart(self, url: str, target: Target) -> None:
        assert parse_target(url, private=False) == target

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "",
                "shop.example",
                "//shop.example/",
                "http://shop.example/",
                "ftp://shop.example/",
                "file:///etc/passwd",
            ),
            *("gopher://shop.example/", "https://", "https:///path", "https://:443/", "https://shop.example:/"),
            *("https://user@shop.example/", "https://user:password@shop.example/", "https://@shop.example/"),
            *(
                "https://shop.example/#part",
                "https://shop.example/#",
                "https://shop.example:0/",
                "https://shop.example:22",
            ),
            *("https://shop.example:80/", "https://shop.example:1023/", "https://shop.example:65536/"),
            *(
                "https://shop.example:x/",
                "https://shop.example:-1/",
                "https://shop example/",
                "https://shop.example/\n",
            ),
            *("https://shop.example/a b", "https://shop.example\r\nHost: evil/", "https://shop.example\\@evil/"),
            *("https://bücher.example/", "https://shop.example/ü", "https://[::1/", "https://::1/", "https://[::1]x/"),
            *("https://[fe80::1%25eth0]/", "https://shop%2eexample/", "https://shop.example\0/", "https://a,b/"),
            "https://shop.example/" + "x" * 2048,
        ],
    )
    def test_other_url_is_refused(self, url: str) -> None:
        with pytest.raises(UnfitUrlError):
            parse_target(url, private=False)

    def test_plain_http_is_allowed_on_a_developers_machine(self) -> None:
        target = parse_target("http://localhost:8000/hooks", private=True)
        assert target == Target(False, "localhost", 8000, "/hooks", "localhost:8000")
        with pytest.raises(UnfitUrlError):
            parse_target("ftp://localhost/", private=True)


def resolving(*addresses: str) -> Targets:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return Targets(resolve, private=False)


ENDING = """
import asyncio, socket, time
from server.webhooks.targets import Resolver
async def main():
    async with asyncio.timeout(0.2):
        await Resolver()("shop.example", 443)
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
try:
    asyncio.run(main())
except TimeoutError:
    print("ended")
"""


class TestResolver:
    def test_process_that_ends_does_not_wait_for_a_look_up(self) -> None:
        done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, check=True, timeout=20)
        assert done.stdout == b"ended\n"

    @pytest.fixture
    def names(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], Event]]:
        """The names that were looked up, and what lets the answers come."""
        asked, answer = [], Event()

        def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
            asked.append(host)
            answer.wait(10)
            return [(0, 0, 0, "", ("8.8.8.8", 443))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield asked, answer
        answer.set()

    async def test_look_up_that_nobody_waits_for_still_takes_its_room(self, names: tuple[list[str], Event]) -> None:
        asked, answer = names
        resolver = Resolver(at_once=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await resolver("dead.example", 443)
        waiting = asyncio.create_task(resolver("shop.example", 443))
        await asyncio.sleep(0.1)
        assert asked == ["dead.example"]
        answer.set()
        assert await waiting == ["8.8.8.8"]
        assert asked == ["dead.example", "shop.example"]

    async def test_address_is_found_while_all_room_is_taken(self, names: tuple[list[str], Event]) -> None:
        asked, answer = names
        resolver = Resolver(at_once=1)
        dead = asyncio.create_task(resolver("dead.example", 443))
        await asyncio.sleep(0)
        assert await resolver("8.8.8.8", 443) == ["8.8.8.8"]
        assert await resolver("2606:4700::1", 443) == ["2606:4700::1"]
        assert asked == ["dead.example"]
        answer.set()
        await dead

    async def test_name_that_waits_too_long_for_room_is_told_from_one_without_answer(
        self, names: tuple[list[str], Event]
    ) -> None:
        asked, answer = names
        resolver = Resolver(at_once=1, wait_s=0.05)
        dead = asyncio.create_task(resolver("dead.example", 443))
        await asyncio.sleep(0)
        with pytest.raises(NoRoomError):
            await resolver("shop.example", 443)
        assert asked == ["dead.example"]
        answer.set()
        await dead
        assert await resolver("shop.example", 443) == ["8.8.8.8"]

    async def test_name_takes_one_place_however_many_ask_for_it(self, names: tuple[list[str], Event]) -> None:
        asked, answer = names
        resolver = Resolver(at_once=2)
        asking = [asyncio.create_task(resolver("dead.example", port)) for port in (443, 443, 8443)]
        other = asyncio.create_task(resolver("shop.example", 443))
        await asyncio.sleep(0.1)
        assert asked == ["dead.example", "shop.example"]
        answer.set()
        assert await asyncio.gather(*asking, other) == [["8.8.8.8"]] * 4


class TestTargets:
    async def test_public_addresses_are_found(self) -> None:
        target = parse_target("https://shop.example/", private=False)
        assert await resolving("8.8.8.8", "2606:4700::1").addresses(target) == ["8.8.8.8", "2606:4700::1"]

    @pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1"])
    async def test_one_address_inside_spoils_the_others(self, inside: str) -> None:
        targets = resolving("8.8.8.8", inside)
        assert not await targets.addresses(parse_target("https://shop.example/", private=False))
        assert not await targets.can_be_reached("https://shop.example/", OWNER)

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1", "127.1", "0"])
    async def test_loopback_is_refused_however_it_is_written(self, host: str) -> None:
        assert not await Targets(Resolver(), private=False).can_be_reached(f"https://{host}/", OWNER)

    async def test_loopback_is_allowed_on_a_developers_machine(self) -> None:
        assert await Targets(Resolver(), private=True).can_be_reached("http://127.0.0.1:8000/", OWNER)

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64])
    async def test_name_without_address_leads_nowhere(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        getaddrinfo = socket.getaddrinfo

        def look_up(name: str, *arguments: Any, **named: Any) -> Any:
            if name.endswith(".invalid"):  # as name servers answer; here is none that must
                raise socket.gaierror(socket.EAI_NONAME, "")
            return getaddrinfo(name, *arguments, **named)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert not await Targets(Resolver(), private=True).can_be_reached(f"https://{host}/", OWNER)

    async def test_name_server_that_does_not_answer_takes_one_place_of_one_user(self) -> None:
        answer, asked = asyncio.Event(), []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            await answer.wait()
            return ["8.8.8.8"]

        targets = Targets(resolve, private=False, lookup_timeout_s=0.05)
        with pytest.raises(Overloaded):
            await targets.can_be_reached("https://dead.example/", OWNER)
        with pytest.raises(RateLimited):
            await targets.can_be_reached("https://shop.example/", OWNER)
        with pytest.raises(Overloaded):
            await targets.can_be_reached("https://shop.example/", uuid4())
        assert asked == ["dead.example", "shop.example"]
        answer.set()
        await asyncio.sleep(0.01)
        assert await targets.can_be_reached("https://shop.example/", OWNER)
