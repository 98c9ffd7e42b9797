"""`roundtrip quarantine` on host B: reports, without a running agent."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from roundtrip.roles.quarantine import Finding, Kind, Reports
from roundtrip.roles.wishes import Wishes
from roundtrip.shares.posix import PosixFolder
from tests.quarantine.conftest import Site

STRANGE = "-rf \x1b[31m;x\n.csv.done"


def report(site: Site, name: str, kind: Kind = Kind.HELD) -> str:
    """A report as B's agent writes it; returns its label."""
    folder = PosixFolder(site.root / "quarantine")
    before = set(os.listdir(folder.path))
    finding = Finding(kind, "a reason", {"given": 10, "files": {}})
    asyncio.run(Reports(folder).add(name, finding))
    folder.close()
    (file,) = set(os.listdir(site.root / "quarantine")) - before
    return file.removesuffix(".json")


def request(site: Site, *names: str) -> Path:
    """Names in Unenriched."""
    for name in names:
        (site.root / "here" / name).write_bytes(b"x")
    return site.root / "here"


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def test_list_and_show_print_nothing_hostile(b: Site) -> None:
    label = report(b, STRANGE, Kind.NAME)
    for arguments in (["list"], ["show", label], ["show", STRANGE]):
        code, out, err = b(*arguments)
        assert code == 0 and err == ""
        assert all(each.isprintable() for each in out.split("\n")) and "unusable-name" in out
    assert b.json("list")[0]["name"] == STRANGE


def test_each_kind_says_what_it_means_and_what_can_be_done(b: Site) -> None:
    for kind in Kind:
        out = b("show", report(b, f"{kind}.csv", kind))[1]
        assert "meaning" in out and "to do" in out
    page = Path(__file__).parents[2] / "docs/how-to/quarantine.md"
    assert all(f"`{kind}`" in page.read_text() for kind in Kind)


def test_the_report_of_an_open_request_is_not_dropped_without_a_word(b: Site) -> None:
    report(b, "held.csv")
    share = request(b, "held.csv", "held.csv.done")
    code, _, err = b("drop", "held.csv")
    assert code == 7 and "belongs to host A" in err and "--file" in err
    assert visible(share) == ["held.csv", "held.csv.done"] and b.labels() == ["held.csv"]
    assert b("drop", "--file", "held.csv")[0] == 0
    assert visible(share) == [] and b.labels() == []


def test_the_report_of_a_request_that_has_gone_is_dropped(b: Site) -> None:
    report(b, "held.csv")
    share = request(b, "other.csv", "other.csv.done")
    assert b("drop", "held.csv")[0] == 0
    assert visible(share) == ["other.csv", "other.csv.done"] and b.labels() == []


def test_a_strange_request_goes_with_its_payload_only_on_demand(b: Site) -> None:
    label = report(b, STRANGE, Kind.NAME)
    share = request(b, STRANGE, STRANGE.removesuffix(".done"), "good.csv.done")
    assert b("drop", label)[0] == 7
    assert b("drop", "--file", label)[0] == 0
    assert visible(share) == ["good.csv.done"]


def test_dropping_a_marker_of_a_marker_spares_the_marker(b: Site) -> None:
    label = report(b, "good.csv.done.done", Kind.NAME)
    share = request(b, "good.csv", "good.csv.done", "good.csv.done.done")
    assert b("drop", "--file", label)[0] == 0
    assert visible(share) == ["good.csv", "good.csv.done"]


@pytest.mark.parametrize(
    "name", ["../../victim.done", "/victim.done", "a/b", "..", "", 7, None, "other.csv", "\0.done"]
)
def test_a_forged_report_leads_to_no_other_file(b: Site, tmp_path: Path, name: object) -> None:
    victim = tmp_path / "victim.done"
    victim.touch()
    share = request(b, "other.csv", "other.csv.done")
    document = {"v": 1, "name": name, "kind": 7, "reason": None, "evidence": []}
    (b.root / "quarantine/forged.json").write_text(json.dumps(document))
    assert b.labels() == ["forged"] and b("show", "forged")[0] == 0
    b("drop", "--file", "forged")
    b("retry", "forged")
    assert victim.exists() and visible(share) == ["other.csv", "other.csv.done"]


def test_what_is_no_report_is_listed_and_no_more(b: Site) -> None:
    folder = b.root / "quarantine"
    (folder / "empty.json").touch()
    (folder / "deep.json").write_bytes(b"[" * 100_000)
    (folder / "not one.json").write_bytes(b"{}")
    (folder / "notes.txt").touch()
    (folder / "link.json").symlink_to("/etc/passwd")
    assert len(b.labels()) == 3
    assert b("list")[0] == 0


def test_a_wish_to_retry_waits_for_the_agent(b: Site) -> None:
    label = report(b, STRANGE, Kind.NAME)
    code, out, _ = b("retry", label)
    assert code == 0 and "when it starts" in out
    folder = PosixFolder(b.root / "state/retry")
    retries = Wishes(folder)
    assert asyncio.run(retries.names()) == [STRANGE] and retries.wants(STRANGE)
    asyncio.run(retries.done(STRANGE))
    assert os.listdir(folder.path) == [] and not retries.wants(STRANGE)
    folder.close()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"name": "../x.done"}', b'{"name": "a/b"}', b'{"name": 1}',
                b'{"name": "x y"}', b"[" * 100_000]
)  # fmt: skip
def test_a_wish_that_is_none_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    folder = PosixFolder(tmp_path)
    assert asyncio.run(Wishes(folder).names()) == []
    assert os.listdir(tmp_path) == []
    folder.close()


def test_a_full_quarantine_takes_no_more_reports(
    b: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("roundtrip.roles.quarantine.MOST", 3)
    folder = PosixFolder(b.root / "quarantine")
    reports = Reports(folder)

    async def fill() -> None:
        await reports.labels()
        for number in range(6):
            await reports.add(f"{number}.csv", Finding(Kind.HELD, "x", {}))
        await reports.lift("0.csv")
        await reports.add("9.csv", Finding(Kind.HELD, "x", {}))

    asyncio.run(fill())
    folder.close()
    assert b.labels() == ["1.csv", "2.csv", "9.csv"]
    assert sum(record.message == "quarantine full" for record in caplog.records) == 1
