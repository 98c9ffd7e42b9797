"""Every request of a step is one that the API's own document allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from roundtrip.enrich.settings import Auth, Batch, Job, Pages
from tests.enrich.openapi.conftest import Enriched, Serve
from tests.enrich.steps import http_step

pytestmark = pytest.mark.needs("node", "prism")

KEY = Auth("key", secret="k", name="X-Api-Key")
CLIENT = Auth("basic", user="ü r", secret="p w=")
TOKEN = Auth(
    "oauth2",
    user="me@example.org",
    secret="s+/=: ü",
    scope="reports:write reports:read",
    audience="https://reports.example/?a=1&b=ü",
)
MAILTO = {"mailto": "ops@example.org"}
V4, V6 = "192.0.2.7", "2001:db8::7"


async def test_addresses_are_asked_for_one_by_one_with_a_key(
    serve: Serve, enriched: Enriched
) -> None:
    api = serve("geolocation")
    step = http_step(
        "geo",
        api.url + "/v1/ip/{ip}",
        query={"fields": "country,city,network", "lang": "{lang}"},
        auth=KEY,
        select={"city": "city", "asn": "network.asn"},
    )
    found = await enriched([step], {"ip": V4, "lang": "de"}, {"ip": V6, "lang": "fr"})
    assert [one["geo"] for one in found] == [{"city": "Besançon", "asn": 64500}] * 2
    assert api.seen() == (["get /v1/ip/192.0.2.7", "get /v1/ip/2001%3Adb8%3A%3A7"], [])


REFUSED: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({"ip": V4, "lang": "de"}, {}, 401),
    ({"ip": "192.0.2.777", "lang": "de"}, {"auth": KEY}, 422),
    ({"ip": V4, "lang": "deutsch"}, {"auth": KEY}, 422),
]


@pytest.mark.parametrize(("record", "settings", "status"), REFUSED)
async def test_what_the_document_forbids_is_refused_and_becomes_the_records_error(
    serve: Serve, enriched: Enriched, record: Any, settings: Any, status: int
) -> None:
    api = serve("geolocation")
    query = {"fields": "city", "lang": "{lang}"}
    step = http_step("geo", api.url + "/v1/ip/{ip}", query=query, **settings)
    (found,) = await enriched([step], record)
    assert found["geo"]["error"]["status"] == status
    asked, refused = api.seen()
    assert len(asked) == 1 and refused


async def test_many_addresses_go_in_one_body_and_find_their_places(
    serve: Serve, enriched: Enriched
) -> None:
    api = serve("geolocation")
    step = http_step(
        "geo",
        api.url + "/v1/batch?lang=de",
        method="POST",
        auth=KEY,
        batch=Batch(3, by="ip", key="{ip}", item={"query": "{ip}", "tag": "{n}"}),
        select={"name": "country.name"},
    )
    asked = [{"ip": ip, "n": n} for n, ip in enumerate((V4, V6, "192.0.2.8", "192.0.2.9"))]
    found = await enriched([step], *asked)
    assert [one["geo"].get("name") for one in found] == ["France", "日本", "Deutschland", None]
    assert found[3]["geo"]["error"]["title"] == "Missing answer"
    assert api.seen() == (["post /v1/batch"] * 2, [])


async def test_many_addresses_stand_in_one_parameter(serve: Serve, enriched: Enriched) -> None:
    api = serve("geolocation")
    batch = Batch(3, by="keys", key="{ip}")
    step = http_step("geo", api.url + "/v1/many", query={"ips": "{batch}"}, auth=KEY, batch=batch)
    found = await enriched([step], {"ip": V4}, {"ip": V6})
    assert [one["geo"]["country"]["code"] for one in found] == ["FR", "JP"]
    assert api.seen() == (["get /v1/many"], [])


async def test_a_work_is_asked_for_by_a_doi_with_all_that_dois_have(
    serve: Serve, enriched: Enriched
) -> None:
    api = serve("works")
    dois = ["10.5555/a", "10.5555/(sici)1(19980815/30)17:15/16<1::aid>3.0.co;2-2", "10.5555/ü?#%2F"]
    step = http_step("work", api.url + "/works/{doi}", query=MAILTO, select={"title": "title[0]"})
    found = await enriched([step], *({"doi": doi} for doi in dois))
    assert [one["work"] for one in found] == [{"title": "Of Mice"}] * 3
    asked, refused = api.seen()
    assert (len(asked), refused) == (3, [])


@pytest.mark.parametrize("following", ["link", "next"])
async def test_the_next_page_is_found_and_asked_for_as_it_was_named(
    serve: Serve, enriched: Enriched, following: str
) -> None:
    api = serve("works")
    step = http_step(
        "works",
        api.url + "/works",
        query={"filter": "title.search:{title},type:book", "per-page": "200", **MAILTO},
        pages=Pages(items="results", next=following),
        select={"dois": "[].doi"},
    )
    (found,) = await enriched([step], {"title": 'Mice & "Men" +/?#ü'})
    assert found["works"] == {"dois": ["10.5555/a", "10.5555/b", "10.5555/c"]}
    assert api.seen() == (["get /works", "get /pages/2"], [])


async def test_counted_pages_end_with_an_empty_one(serve: Serve, enriched: Enriched) -> None:
    api = serve("works")
    step = http_step("works", api.url + "/numbered?q={q}", pages=Pages())
    (found,) = await enriched([step], {"q": "a&page=7"})
    assert found["works"] == []
    assert api.seen() == (["get /numbered"], [])


JOBS = [
    Job(status="state", done=("finished",)),
    Job(url="/reports/{id}", status="state", done=("finished",), result="/reports/{id}/document"),
    Job(status="state", done=("finished",), result="{document}"),
    Job(),
]


@pytest.mark.parametrize("job", JOBS, ids=["Location", "by id", "named result", "202"])
async def test_a_job_is_handed_in_with_a_token_asked_for_and_fetched(
    serve: Serve, enriched: Enriched, engine: Any, job: Job
) -> None:
    api = serve("jobs")
    step = http_step(
        "report",
        api.url + "/reports",
        method="POST",
        auth=replace(TOKEN, token_url=api.url + "/oauth/token"),
        json={"company": "{name}", "options": {"depth": "{depth}", "tags": ["{tag}", "a"]}},
        job=job,
    )
    (found,) = await enriched([step], {"name": 'Müller & "Söhne"', "depth": 3, "tag": ""})
    report = found["report"]
    ending = ["get /reports/7f3a%2Fx"]
    if job.result:
        assert report == {"text": "Sound."}
        ending += ["get /reports/7f3a%2Fx/document"]
    else:
        assert report["rating"] == "AAA"
    assert api.seen() == (["post /oauth/token", "post /reports", *ending], [])
    assert engine.pauses.seconds == [1.0]  # as its Retry-After says


async def test_a_form_is_one_with_whatever_is_in_it(serve: Serve, enriched: Enriched) -> None:
    api = serve("jobs")
    step = http_step(
        "vat",
        api.url + "/checks",
        method="POST",
        auth=CLIENT,
        form={"country": "{country}", "number": "{vat}"},
        headers={"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"},
    )
    numbers = ["811 569 869", "1+1=2&country=FR", "ü%20;{}[]"]
    found = await enriched([step], *({"country": "DE", "vat": number} for number in numbers))
    assert [one["vat"] for one in found] == [{"valid": True}] * 3
    assert api.seen() == (["post /checks"] * 3, [])
