"""The reference lists exactly the conditions that the code can report."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/conditions.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ((?:`[a-z_.<>]+`(?:, )?)+) \|", re.MULTILINE)
VARIABLE = {  # keys with a part that is known only when the program runs: what that can be
    "share.{share}": {"share.unenriched", "share.enriched"},
    "space.{disk.key}": {"space.unenriched", "space.enriched", "space.state"},
    "deliver.{each.name}": {"deliver.<name>"},
    "deliver.{name}": {"deliver.<name>"},
    "dead.{name}": {"dead.<name>"},
    "{kind}.{folder}": {"watch.<folder>", "intake.<folder>"},
}


def reported() -> Iterator[str]:
    """The first words of all `health.report(...)`, and the keys of all `Telling(health, ...)`."""
    for path in sorted((ROOT / "roundtrip").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "ealth.report(" not in source and "Telling(" not in source:
            continue
        tree = ast.parse(source)
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            key = _key(call) if isinstance(call, ast.Call) else None
            if isinstance(key, ast.Name):
                key = constants[key.id]
            if isinstance(key, ast.Constant | ast.JoinedStr):
                yield ast.unparse(key).removeprefix("f").strip("'\"")


def _key(call: ast.Call) -> ast.expr | None:
    function = ast.unparse(call.func)
    if function.endswith("health.report"):
        return call.args[0]
    return call.args[1] if function == "Telling" else None


def disks() -> set[str]:
    """The keys of the disks that agents look after."""
    paths = (ROOT / "roundtrip/assembly").glob("*.py")
    found = (re.findall(r'\bDisk\("(\w+)"', path.read_text(encoding="utf-8")) for path in paths)
    return {key for keys in found for key in keys}


def test_every_condition_that_the_code_reports_is_documented_and_no_other() -> None:
    found = set(reported())
    assert len(found) > 8 and set(VARIABLE) <= found
    keys = {key for each in found for key in VARIABLE.get(each, {each})}
    documented = [key for row in ROW.findall(PAGE) for key in re.findall("`([^`]+)`", row)]
    severities = {"alarm", "warning", "notice"}
    assert sorted(set(documented) - severities) == sorted(keys)
    assert len(documented) == len(set(documented))


def test_every_disk_has_its_condition() -> None:
    assert {f"space.{key}" for key in disks()} == VARIABLE["space.{disk.key}"]
