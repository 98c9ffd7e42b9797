"""Deliveries of other packages: the example of the documentation, installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from roundtrip.deliver.plugin import load
from roundtrip.deliver.port import Undelivered
from roundtrip.deliver.settings import DeliverySettings, PluginSettings
from tests.deliver.parcels import parcel_of

PAGE = Path(__file__).parents[2] / "docs/how-to/write-a-delivery.md"


def install(folder: Path, source: str, *points: str, name: str = "acme_deliveries") -> None:
    """What pip leaves of a package, as far as it is looked at."""
    (folder / f"{name}.py").write_text(source)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(points)
    (about / "entry_points.txt").write_text(f"[roundtrip.deliveries]\n{lines}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def made(use: str, **options: Any) -> Any:
    action = PluginSettings(use, options)
    return load(DeliverySettings("books", action), action)


async def test_the_example_of_the_documentation_works(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = dict(re.findall(r"```(python|toml)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    point = re.search(r'deliveries"\]\n(.*)\n', blocks["toml"])
    assert point is not None
    install(site, blocks["python"], point[1].replace('"', ""))
    ledger = tmp_path / "books" / "ledger.txt"
    delivery = made("ledger", file=str(ledger))
    parcel = parcel_of(tmp_path, b"content")
    with pytest.raises(Undelivered) as told:
        await delivery.deliver(parcel)
    assert (told.value.passing, told.value.away) == (True, True)
    ledger.parent.mkdir()
    await delivery.deliver(parcel)
    await delivery.aclose()
    assert ledger.read_text() == f"{parcel.id} enriched 7\n"


@pytest.mark.parametrize(
    ("use", "options", "said"),
    [
        ("none", {}, "no installed package has 'none' in entry point group roundtrip.deliveries"),
        ("fine", {"colour": "red"}, "can't be made with these options"),
        ("gone", {}, "can't be loaded: ModuleNotFoundError"),
        ("quits", {}, "can't be made: RuntimeError: no such thing"),
        ("blunt", {}, "has no async method deliver"),
    ],
)
def test_a_plugin_that_cannot_be_made_is_said_in_one_line(
    site: Path, use: str, options: dict[str, Any], said: str
) -> None:
    source = (
        "class Fine:\n    async def deliver(self, parcel): pass\n"
        "class Quits:\n    def __init__(self): raise RuntimeError('no such\\nthing')\n"
        "class Blunt:\n    def deliver(self, parcel): pass\n"
    )
    install(
        site, source, "fine = wrong_ones:Fine", "gone = nowhere:x",
        "quits = wrong_ones:Quits", "blunt = wrong_ones:Blunt", name="wrong_ones",
    )  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(said)) as told:
        made(use, **options)
    assert "\n" not in str(told.value)


async def test_one_that_listens_begins_with_the_agent(site: Path, tmp_path: Path) -> None:
    source = (
        "class Open:\n"
        "    opened = 0\n"
        "    async def open(self): Open.opened += 1\n"
        "    async def deliver(self, parcel): assert Open.opened\n"
    )
    install(site, source, "listens = opening:Open", name="opening")
    delivery = made("listens")
    await delivery.open()
    await delivery.deliver(parcel_of(tmp_path, b"x"))
    await delivery.aclose()
