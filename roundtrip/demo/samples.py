"""The sample files, and the starter configuration whose pipelines enrich them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from roundtrip.demo.api import DEFAULT_PORT

NAMES = ("orders.csv", "flights.jsonl", "sites.json")


def text(name: str) -> str:
    """A sample file's text."""
    return files(__package__).joinpath("data", name).read_text(encoding="utf-8")


def write(name: str, folder: Path) -> Path:
    """Write a sample file into `folder`, the way any program writes a file."""
    target = folder / name
    target.write_text(text(name), encoding="utf-8")
    return target


def starter(port: int = DEFAULT_PORT) -> str:
    """The commented configuration that `roundtrip init` writes, for the sample API at `port`."""
    return text("starter.yaml").replace(f":{DEFAULT_PORT}/", f":{port}/")


def pipelines(port: int) -> str:
    """Only the starter's pipelines, as YAML."""
    _, key, after = starter(port).partition("\npipelines:\n")
    return key.lstrip() + after
