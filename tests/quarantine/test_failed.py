"""`roundtrip quarantine` on host A: failed originals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roundtrip.protocol.names import Namer, ulid_of
from roundtrip.protocol.problem import Problem
from tests.quarantine.conftest import MakeSite, Site, failed

REPOSITORY = Path(__file__).parents[2]


def submitted(site: Site) -> dict[str, tuple[bytes, dict[str, object]]]:
    """What lies in submit/: content and ticket, by exchange."""
    state = site.root / "state"
    return {
        path.name: (
            path.read_bytes(),
            json.loads((state / "tickets" / f"{path.name}.json").read_bytes()),
        )
        for path in (state / "submit").iterdir()
    }


def test_list_shows_each_failed_original_with_its_reason(a: Site) -> None:
    first, second = failed(a, "orders.csv"), failed(a, "b c.csv")
    os.utime(a.root / "failed/orders.csv.problem.json", (1, 1))
    code, out, err = a("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [first, second], "the oldest first"
    assert "payload" in lines[0] and "'orders.csv': Unreadable: line 1" in lines[0]


def test_list_says_on_stderr_that_there_is_nothing(a: Site) -> None:
    code, out, err = a("list")
    assert (code, out) == (0, "") and err.startswith("nothing in ")
    assert a.json("list") == []


@pytest.mark.parametrize(
    "hostile", ["\x1b[2Jx\n.csv", "‮.csv", "\udcff.csv", "-rf", "x" * 241, "$(x)`y`'\".csv", " "]
)
def test_hostile_names_reach_no_terminal_and_can_be_retried(a: Site, hostile: str) -> None:
    exchange = failed(a, hostile)
    for arguments in (["list"], ["show", exchange], ["retry", exchange]):
        code, out, err = a(*arguments)
        assert code == 0 and err == ""
        assert all(each.isprintable() for each in out.split("\n")), out
    (content, ticket), = submitted(a).values()  # fmt: skip
    assert content == b"original" and ticket["original_name"] == hostile
    assert os.listdir(a.root / "failed") == []


@pytest.mark.parametrize(
    "evil",
    ["../../evil", "/etc/evil", "..", "", "a/b", "a\0b", 7, None, ["x"], "é" * 200, "\ud800"],
)
def test_a_documents_word_for_the_original_is_no_path(a: Site, evil: object) -> None:
    exchange = failed(a, "orders.csv", original_name=evil, pipeline={"x": 1})
    assert a("retry", exchange)[0] == 0
    ((name, (content, ticket)),) = submitted(a).items()
    assert ticket["original_name"] == "orders.csv" and ticket["pipeline"] is None
    assert name.endswith("-orders.csv") and content == b"original"


def test_show_prints_all_that_is_known_and_evidence_as_a_dump(a: Site) -> None:
    exchange = failed(a, "orders.csv", pipeline="geo")
    path = a.root / "failed/orders.csv.problem.json"
    found = json.loads(path.read_bytes())
    found["evidence"] = {"files": {"answer marker": {"size": 4, "head_base64": "G1sySg=="}}}
    path.write_text(json.dumps(found))
    code, out, _ = a("show", "orders.csv")
    assert code == 0 and exchange in out
    assert "pipeline: geo" in out and "to do" in out
    assert "1b 5b 32 4a" in out and "|.[2J|" in out and "\x1b" not in out
    assert a.json("show", exchange)["document"] == found


_DEEP = b'{"evidence": ' + b'{"a":' * 400 + b"1" + b"}" * 401


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"instance": 7}',
        _DEEP,
        b"x" * 500_000,
        b'{"evidence": {"head_base64": "*"}, "request": 1, "type": {}, "title": []}',
    ],
)
def test_a_document_that_is_none_is_shown_retried_and_dropped_all_the_same(
    a: Site, document: bytes
) -> None:
    failed(a, "orders.csv")
    (a.root / "failed/orders.csv.problem.json").write_bytes(document)
    assert a("list")[0] == a("show", "orders.csv")[0] == 0
    assert a("retry", "orders.csv")[0] == 0
    assert [content for content, _ in submitted(a).values()] == [b"original"]


def test_a_name_is_an_exchange_a_file_or_how_exactly_one_begins(a: Site) -> None:
    first, second = failed(a, "one.csv"), failed(a, "two.csv")
    for name in (first, "one.csv", "one.csv.problem.json", "one", first[:28]):
        assert a.json("show", name)["exchange"] == first
    code, _, err = a("show", second[:4])
    assert code == 7 and "may be any of 2" in err
    code, _, err = a("show", "th\x1bree")
    assert code == 7 and "\x1b" not in err and "list" in err
    assert a("show", "")[0] == 7


def test_an_exact_name_wins_over_one_that_begins_with_it(a: Site) -> None:
    exchange = failed(a, "x")
    failed(a, "x.csv")
    assert a.json("show", "x")["exchange"] == exchange


def test_retry_keeps_content_original_name_and_pipeline(a: Site) -> None:
    exchange = Namer()("orders.csv")
    name = f"orders.{ulid_of(exchange)}.csv"  # as A calls it where the name was taken
    failed(a, name, b"content", original_name="orders.csv", pipeline="geo")
    code, out, _ = a("retry", name)
    ((fresh, (content, ticket)),) = submitted(a).items()
    assert code == 0 and out.rstrip().endswith(f"sent again as {fresh}")
    assert content == b"content"
    assert (ticket["original_name"], ticket["pipeline"]) == ("orders.csv", "geo")
    assert ticket["attempt"] == 1 and ticket["deadline"] is None
    assert os.listdir(a.root / "failed") == []


def test_without_a_word_in_the_document_the_ulid_is_taken_out_of_the_files_name(a: Site) -> None:
    exchange = Namer()("orders.csv")
    name = f"orders.{ulid_of(exchange)}.csv"
    (a.root / "failed" / name).write_bytes(b"x")
    document = Problem("payload", "No", "no", exchange).encode()
    (a.root / "failed" / f"{name}.problem.json").write_bytes(document)
    assert a("retry", exchange)[0] == 0
    assert [ticket["original_name"] for _, ticket in submitted(a).values()] == ["orders.csv"]


def test_a_name_too_long_for_a_document_beside_it_is_still_a_pair(a: Site) -> None:
    original = "x" * 251 + ".csv"
    exchange = Namer()(original)
    (a.root / "failed" / original).write_bytes(b"long")
    request = {"original_name": original, "pipeline": None}
    document = Problem("payload", "No", "no", exchange).extended({"request": request})
    (a.root / "failed" / f"xxx.{ulid_of(exchange)}.csv.problem.json").write_bytes(document)
    assert a.labels() == [exchange]
    assert a("retry", exchange)[0] == 0
    assert [content for content, _ in submitted(a).values()] == [b"long"]
    assert os.listdir(a.root / "failed") == []


def test_an_original_that_has_gone_can_not_be_retried_but_dropped(a: Site) -> None:
    exchange = failed(a, "orders.csv")
    (a.root / "failed/orders.csv").unlink()
    code, _, err = a("retry", exchange)
    assert code == 7 and "not in" in err and submitted(a) == {}
    assert a("drop", exchange)[0] == 0
    assert os.listdir(a.root / "failed") == []


def test_an_original_without_a_document_is_listed_and_can_be_retried(a: Site) -> None:
    (a.root / "failed/lone.csv").write_bytes(b"lone")
    (label,) = a.labels()
    assert a("retry", label)[0] == 0
    assert [content for content, _ in submitted(a).values()] == [b"lone"]


def test_all_means_all_and_nothing_is_done_without_a_name(a: Site) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        failed(a, name)
    assert a("retry")[0] == 2 == a("drop")[0] == a("drop", "--all", "a.csv")[0]
    assert a("drop", "a.csv", "nothing")[0] == 7, "what can be done is done"
    assert len(a.labels()) == 2
    assert [each["done"][:10] for each in a.json("retry", "--all")] == ["sent again"] * 2
    assert len(submitted(a)) == 2 and a.labels() == []


def test_folders_symlinks_and_hidden_files_are_not_items(a: Site) -> None:
    folder = a.root / "failed"
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    (folder / ".hidden").touch()
    os.mkfifo(folder / "pipe.problem.json")
    assert a.labels() == []


# SIGKILL before each single system call that changes anything


@pytest.mark.needs("strace")
@pytest.mark.parametrize("call", ["renameat2", "unlinkat", "fsync"])
def test_a_kill_at_any_step_of_retry_leaves_the_original_once(
    make_site: MakeSite, call: str, tmp_path: Path
) -> None:
    a = make_site("a")
    for number in range(1, 20):
        exchange = failed(a, "orders.csv", pipeline="geo")
        command = [sys.executable, "-m", "roundtrip", "quarantine", "retry", exchange]
        command += ["--config", str(a.root / "roundtrip.yaml")]
        inject = f"inject={call}:signal=KILL:when={number}"
        under = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
        done = subprocess.run([*under, *command], capture_output=True, cwd=REPOSITORY, timeout=60)
        there = [(a.root / "failed/orders.csv").exists(), bool(submitted(a))]
        assert sum(there) == 1, (call, number, there)
        if there[0]:
            assert (a.root / "failed/orders.csv").read_bytes() == b"original"
            assert (a.root / "failed/orders.csv.problem.json").exists()
        else:
            ((_, (content, ticket)),) = submitted(a).items()
            assert content == b"original" and ticket["pipeline"] == "geo"
        for folder in ("failed", "state/submit", "state/tickets"):
            for path in (a.root / folder).iterdir():
                path.unlink()
        if done.returncode == 0:
            assert number > 1, f"no {call} at all"
            return
    raise AssertionError("it never got through")
