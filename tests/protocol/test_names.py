"""Names: what may name an exchange, what a name on a share means, and names of our own making."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.errors import UnusableName
from roundtrip.protocol.names import (
    MAX_SLUG,
    Namer,
    Split,
    check_exchange,
    created_of,
    is_exchange,
    is_internal,
    is_part,
    marker_of,
    part_of,
    slug,
    split,
    ulid_of,
)

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"  # the example of https://github.com/ulid/spec
GOOD = [
    "a",
    "7",
    "orders.csv",
    f"{ULID}-orders.csv",
    "A-Z_a.z~0@9+",
    "a..b",
    "a.",
    "a.DONE",
    "adone",
    "a.done.csv",
    "x" * 200,
]
BAD = [
    "",
    ".",
    "..",
    ".hidden",
    "-rf",
    "_a",
    "~a",
    "@a",
    "+a",
    "a.done",
    "a.done.done",
    "a/b",
    "../a",
    "a b",
    "a\n",
    "a\nb",
    "\na",
    "a\x00",
    "a\x1b[2J",
    "a\u202egnp.csv",
    "\u200ea",
    "ä.csv",
    "заказы.csv",
    "a\udcff",
    "٣",
    "a:b",
    "a\\b",
    "a*",
    "x" * 201,
    "x" * 300,
]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_inside_the_grammar_names_an_exchange(name: str) -> None:
    assert is_exchange(name)
    assert check_exchange(name) == name
    assert split(name) == Split(name, is_marker=False)
    assert split(marker_of(name)) == Split(name, is_marker=True)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_outside_the_grammar_is_refused_when_writing_and_when_listing(name: str) -> None:
    assert not is_exchange(name)
    assert split(marker_of(name)) is None
    with pytest.raises(UnusableName):
        check_exchange(name)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_refused_name_is_safe_on_a_terminal(name: str) -> None:
    with pytest.raises(UnusableName) as refused:
        check_exchange(name)
    assert str(refused.value).isprintable()


@given(st.text(max_size=210))
def test_the_grammar_is_that_of_the_specification(name: str) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    specified = (
        0 < len(name) <= 200
        and name[0] in letters
        and all(letter in letters + "._~@+-" for letter in name)
        and not name.endswith(".done")
    )
    assert is_exchange(name) == specified


@pytest.mark.parametrize("name", [".orders.csv.0a1b2c3d.part", ".nfs000012", ".roundtrip", "."])
def test_a_name_that_begins_with_a_dot_is_no_part_of_an_exchange(name: str) -> None:
    assert is_internal(name)
    assert split(name) is None


@pytest.mark.parametrize("name", ["orders.csv", "orders.csv.done", "x" * 200 + ".done"])
def test_an_in_flight_name_is_internal_fresh_and_fits_a_file_system(name: str) -> None:
    parts = {part_of(name) for _ in range(50)}
    assert len(parts) == 50
    for part in parts:
        assert is_part(part) and is_internal(part) and split(part) is None
        assert part.startswith(f".{name}.") and len(part) <= 255
    assert not is_part(name) and not is_part("orders.part") and not is_part(".orders")


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("orders.csv", "orders.csv"),
        ("Überweisung März.csv", "Uberweisung-Marz.csv"),
        ("orders (final) [2].csv", "orders-final-2.csv"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        (".bashrc", "bashrc"),
        ("a\nb\x1b[2J.csv", "a-b-2J.csv"),
        ("orders.csv.done", "orders.csv-done"),
        (".done", "done"),
        ("orders.done.", "orders-done"),
        ("", "file"),
        ("...", "file"),
        ("заказы", "file"),
        ("заказы.csv", "file.csv"),
        ("注文.jsonl", "file.jsonl"),
        ("注文.データ", "file"),
        ("caf\udce9.csv", "caf.csv"),
        ("a" * 300 + ".csv", "a" * 116 + ".csv"),
        ("a" * 300, "a" * 120),
        ("a." + "b" * 300, "a." + "b" * 118),
        ("a" * 115 + ".done" + "b" * 100, "a" * 115 + "-done"),
        ("a" * 115 + "-" * 9 + "b.csv", "a" * 115 + ".csv"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_a_slug_is_portable_and_keeps_the_extension(original: str, expected: str) -> None:
    assert slug(original) == expected


@given(st.text(max_size=300))
def test_whatever_a_file_is_called_its_exchange_has_a_valid_name(original: str) -> None:
    name = Namer()(original)
    assert is_exchange(name)
    assert ulid_of(name) == name[:26]
    assert 1 <= len(slug(original)) <= MAX_SLUG
    assert slug(slug(original)) == slug(original)


def test_names_sort_in_the_order_in_which_they_were_made() -> None:
    times = iter([100.0, 100.0, 100.0, 200.0, 150.0, 150.0, 200.0, 200.001])
    namer = Namer(clock=lambda: next(times))
    made = [namer(original) for original in "hgfedcba"]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_names_of_one_millisecond_count_up_even_from_the_highest_number() -> None:
    namer = Namer(clock=lambda: 100.0, randbits=lambda bits: (1 << bits) - 1)
    made = [namer("x") for _ in range(3)]
    assert made == sorted(made)
    assert len(set(made)) == 3


def test_the_random_number_is_drawn_once_a_millisecond_and_counted_up() -> None:
    draws = iter([5, 1 << 70, 1 << 71])
    namer = Namer(clock=lambda: 100.0, randbits=lambda bits: next(draws))
    assert [str(ulid_of(namer("x")))[-2:] for _ in range(3)] == ["05", "06", "07"]


def test_two_namers_make_different_names_at_the_same_time() -> None:
    assert Namer(clock=lambda: 100.0)("x") != Namer(clock=lambda: 100.0)("x")


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 80) - 1))
def test_a_name_tells_when_it_was_made_to_the_millisecond(milliseconds: int, random: int) -> None:
    seconds = milliseconds / 1000
    name = Namer(clock=lambda: seconds, randbits=lambda bits: random)("orders.csv")
    assert is_exchange(name)
    assert name == f"{ulid_of(name)}-orders.csv"
    assert created_of(name) == int(seconds * 1000) / 1000


def test_the_ulid_is_the_one_of_its_specification() -> None:
    assert ulid_of(f"{ULID}-x") == ULID
    assert created_of(f"{ULID}-x") == 1469922850.259


@pytest.mark.parametrize(
    "name",
    [
        "orders.csv",
        ULID,
        f"{ULID}-",
        f"{ULID.lower()}-x",
        f"8{ULID[1:]}-x",  # more than 48 bits of time
        f"{ULID[:-1]}U-x",  # no letter of Crockford's
        f"{ULID}-x~y",
        f"{ULID}-x\n",
    ],
)
def test_a_name_of_another_program_has_neither_ulid_nor_time(name: str) -> None:
    assert ulid_of(name) is None
    assert created_of(name) is None
