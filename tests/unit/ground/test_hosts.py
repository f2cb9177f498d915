"""Where a caller may send its provider key: to listed hosts, and through a wildcard only to the public internet."""

from __future__ import annotations

import asyncio

import pytest

from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.ground.hosts import check, is_public, may_reach, resolve

HEADER = "x-portkey-custom-host"
PUBLIC = "93.184.216.34"


async def allowed(url: str, *listed: str, addresses: tuple[str, ...] = (PUBLIC,)) -> bool:
    async def found(host: str, port: int) -> list[str]:
        if not addresses:
            raise OSError("no such name")
        return list(addresses)

    try:
        await check(url, listed, param=HEADER, resolve=found)
    except BadRequest as error:
        return (error.message, error.param) != ("Invalid custom host", HEADER)
    return True


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("HTTPS://API.Example.com/v1/", "api.EXAMPLE.com"),
        ("http://api.example.com:8080/v1", "api.example.com"),
        ("http://api.example.com:8080/v1", "api.example.com:8080"),
        ("https://api.example.com/v1", "api.example.com:443"),
        ("http://api.example.com", "api.example.com:80"),
        ("http://localhost:9/v1", "localhost"),
        ("http://127.0.0.1:9/v1", "127.0.0.1"),
        ("http://127.0.0.1:9/v1", "127.0.0.1:9"),
        ("http://169.254.169.254/", "169.254.169.254"),
        ("http://[::1]:9/v1", "::1"),
        ("http://[::1]:9/v1", "[::1]"),
        ("http://[::1]:9/v1", "[::1]:9"),
        ("http://[0:0:0:0:0:0:0:1]/v1", "[::1]"),
        ("http://model_server:9/v1", "model_server"),
        ("https://eu.example.com/v1", "*.example.com"),
        ("https://a.b.example.com:8443/v1", "*.example.com:8443"),
        ("https://xn--bcher-kva.example.com/v1", "*.example.com"),
    ],
)
async def test_a_listed_host_is_allowed(url: str, entry: str) -> None:
    assert await allowed(url, "other.example", entry)


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://api.example.com/v1", ""),
        ("https://api.example.com/v1", "example.com"),
        ("https://example.com/v1", "*.example.com"),
        ("https://badexample.com/v1", "*.example.com"),
        ("https://api.example.com.evil.test/v1", "*.example.com"),
        ("https://api.example.com/v1", "api.example.com:8443"),
        ("https://api.example.com:8443/v1", "api.example.com:443"),
        ("https://eu.example.com:444/v1", "*.example.com:8443"),
        ("https://api.example.com:8443/v1", "api.example.com:443:8443"),
        ("http://127.0.0.2/v1", "127.0.0.1"),
        ("http://127.0.0.1/v1", "*.0.0.1"),
        ("http://[::1:9]/v1", "::1"),
        ("http://[::1]:9/v1", "[::1]:8"),
    ],
)
async def test_a_host_that_is_not_listed_is_refused(url: str, entry: str) -> None:
    assert not await allowed(url, entry)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "//api.example.com/v1",
        "ftp://api.example.com/v1",
        "file:///etc/passwd",
        "https:///v1",
        "https://user@api.example.com/v1",
        "https://user:password@api.example.com/v1",
        "https://@api.example.com/v1",
        "https://evil.test\\@api.example.com/v1",
        "https://evil.test#@api.example.com/v1",
        "https://api.example.com/v1?key=x",
        "https://api.example.com/v1#x",
        "https://api.example.com./v1",
        "https://.api.example.com/v1",
        "https://api..example.com/v1",
        "https://-a.example.com/v1",
        "https://api%2eexample.com/v1",
        "https://api.example.com%00/v1",
        "https://api.example.com;x/v1",
        "https://api.exämple.com/v1",
        "https://api.example.com /v1",
        "https://api.exa\tmple.com/v1",
        "https://api.example.com\r\n/v1",
        "https://api.example.com:0/v1",
        "https://api.example.com:/v1",
        "https://api.example.com:99999/v1",
        "https://api.example.com:x/v1",
        "https://api.example.com:+443/v1",
        "https://a.b.c.d.e.f.g.h.i.example.com/v1",
        f"https://{'a' * 64}.example.com/v1",
        "http://[::1/v1",
        "http://[::1%25lo]/v1",
        "http://2130706433.example.com.1/v1",
    ],
)
async def test_an_odd_url_is_refused_whatever_is_listed(url: str) -> None:
    assert not await allowed(url, "api.example.com", "*.example.com", "*.com", "*.com.1", "user@api.example.com", "::1")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1."])
async def test_an_address_in_disguise_is_refused(host: str) -> None:
    assert not await allowed(f"http://{host}/v1", "127.0.0.1", "localhost", host)


INSIDE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.170",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::168.63.129.16",
    "192.88.99.1",
    "2002:c058:6301::",
    "fec0::1",
    "feff::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "5f00::1",
    "no address",
]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_wildcard_leads_nowhere_inside(address: str) -> None:
    assert not is_public(address)
    assert not await allowed("https://eu.example.com/v1", "*.example.com", addresses=(PUBLIC, address))
    assert await allowed("https://eu.example.com/v1", "eu.example.com", addresses=(address,))


OUTSIDE = ["168.63.129.15", "192.1.0.1", "192.88.100.1", "2a00::1", "2606:4700::1111", "::ffff:93.184.216.34"]


@pytest.mark.parametrize("address", [PUBLIC, "64:ff9b::8.8.8.8", *OUTSIDE])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


async def test_a_name_that_does_not_resolve_is_refused() -> None:
    assert not await allowed("https://eu.example.com/v1", "*.example.com", addresses=())


async def test_all_addresses_of_a_name_are_found_beside_the_loop() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    beating = asyncio.create_task(beat())
    found = await resolve("localhost", 80)
    beating.cancel()
    assert set(found) <= {"127.0.0.1", "::1"}
    assert found
    assert beats


@pytest.mark.parametrize(
    ("host", "address", "reached"),
    [
        ("eu.example.com", PUBLIC, True),
        ("eu.example.com", "10.0.0.1", False),
        ("EU.example.com", "169.254.169.254", False),
        ("listed.example.com", "10.0.0.1", True),
        ("ours.example.com", "10.0.0.1", True),
        ("api.openai.com", "10.0.0.1", True),  # the operator's network: not a caller's choice
        ("example.com", "10.0.0.1", True),
        ("eu.example.com", "::ffff:127.0.0.1", False),
    ],
)
def test_a_name_under_a_wildcard_leads_nowhere_inside_at_any_later_time(host: str, address: str, reached: bool) -> None:
    listed, own = ("*.example.com", "listed.example.com"), {"ours.example.com"}
    assert may_reach(host, 443, address, listed=listed, own=own) is reached
