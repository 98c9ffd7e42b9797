"""The sample files and the starter configuration fit the sample API."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from roundtrip.config import load
from roundtrip.demo import api, samples


def test_the_starter_is_a_valid_configuration_for_both_roles(tmp_path: Path) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(samples.starter(), encoding="utf-8")
    assert [load(file, role).role for role in "ab"] == ["a", "b"]


def test_the_starters_pipelines_ask_the_chosen_port(tmp_path: Path) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(samples.pipelines(4711), encoding="utf-8")
    steps = [step for pipeline in load(file, "b").pipelines for step in pipeline.steps]
    assert len(steps) == 3
    assert all(step.action.url.startswith("http://127.0.0.1:4711/") for step in steps)


def test_exactly_one_order_has_a_country_that_the_api_does_not_know() -> None:
    countries = api.load()["countries"]
    orders = csv.DictReader(samples.text("orders.csv").splitlines())
    assert [row["order"] for row in orders if row["country"] not in countries] == ["1006"]


def test_every_flight_and_every_site_is_known_to_the_api() -> None:
    tables = api.load()
    flights = [json.loads(line) for line in samples.text("flights.jsonl").splitlines()]
    sites = json.loads(samples.text("sites.json"))
    assert {flight[end] for flight in flights for end in ("from", "to")} <= set(tables["airports"])
    assert {site["country"] for site in sites} <= set(tables["countries"])


def test_the_demo_shows_orders_that_exist() -> None:
    from roundtrip.cli.demo_view import SHOWN

    orders = {row["order"] for row in csv.DictReader(samples.text("orders.csv").splitlines())}
    assert set(SHOWN) <= orders
