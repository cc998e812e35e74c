"""One person is one address, and no address can be read from the name."""

import pytest
from starlette.datastructures import Headers

from webapp.persons import person_of


def headers(*forwarded: str) -> Headers:
    return Headers(raw=[(b"x-forwarded-for", line.encode()) for line in forwarded])


def behind(*forwarded: str, peer: str = "10.0.0.1") -> str:
    return person_of(headers(*forwarded), peer, trust_proxy=True)


def alone(host: str | None) -> str:
    return person_of(Headers(), host, trust_proxy=False)


def test_the_same_address_is_the_same_person_and_another_is_another() -> None:
    assert alone("203.0.113.7") == alone("203.0.113.7") != alone("203.0.113.8")


def test_a_name_is_twelve_hexadecimal_digits() -> None:
    name = alone("203.0.113.7")
    assert len(name) == 12 and int(name, 16) >= 0


def test_what_a_client_writes_counts_for_nothing_without_a_trusted_proxy() -> None:
    assert person_of(headers("8.8.8.8"), "8.8.4.4", trust_proxy=False) == alone("8.8.4.4")


@pytest.mark.parametrize(
    "forwarded",
    [
        ("8.8.8.8",),
        ("8.8.8.8, 10.16.3.80",),  # our own second proxy
        ("1.1.1.1, 8.8.8.8, 192.168.0.9, 10.1.2.3",),  # the first was written by the client
        ("not an address, 8.8.8.8",),
        ("1.1.1.1", "8.8.8.8"),  # a proxy that adds a line of its own
        (" 8.8.8.8:51234 ",),
        ("::ffff:8.8.8.8",),
    ],
)
def test_behind_a_proxy_it_is_the_last_hop_that_is_not_ours(forwarded: tuple[str, ...]) -> None:
    assert behind(*forwarded) == alone("8.8.8.8")


def test_in_a_network_of_its_own_the_nearest_proxy_is_believed() -> None:
    assert behind("10.9.9.9, 192.168.1.20") == alone("192.168.1.20")


@pytest.mark.parametrize("forwarded", [(), ("",), ("unknown",), ("8.8.8.8, garbage",)])
def test_a_header_that_cannot_be_read_leaves_the_peer(forwarded: tuple[str, ...]) -> None:
    assert behind(*forwarded, peer="8.8.4.4") == alone("8.8.4.4")


def test_a_household_has_one_ipv6_network() -> None:
    assert alone("2001:4860:4860::8888") == alone("2001:4860:4860:0:1:2:3:4") != alone("2001:4860:4860:1::8888")
    assert behind("[2001:4860:4860::8888]:443") == alone("2001:4860:4860::1")
    assert alone("fe80::1%eth0") == alone("fe80::2%eth0")


def test_loopback_of_both_kinds_and_no_address_at_all_have_names() -> None:
    assert len({alone("127.0.0.1"), alone("::1"), alone(None), alone("testclient")}) == 4
