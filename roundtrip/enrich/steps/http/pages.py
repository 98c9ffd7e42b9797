"""Answers in pages: where the next one is, and when it was the last."""

from __future__ import annotations

import httpx

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Pages
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.steps.http.answers import selector
from roundtrip.enrich.steps.http.calls import HttpCall, Shown, shown
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.links import next_link
from roundtrip.enrich.steps.http.wire import Answer

LINK = "link"


class PagedCall(HttpCall):
    """A request whose answer comes in pages."""

    __slots__ = ("_pager",)

    def __init__(
        self,
        step: Compiled,
        target: str,
        headers: httpx.Headers,
        content: bytes | None,
        pager: Pager,
    ) -> None:
        super().__init__(step, target, headers, content)
        self._pager = pager

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`. One tag says nothing of all the pages: `etag` is not used."""
        step = self.step
        items: list[object] = []
        keep = True
        walk = Walk(self._pager, self._first())
        while (url := walk.url) is not None:
            answer = await self.sent(run, url, self.repeatable(run, str(url)))
            items += walk.taken(answer)
            keep = keep and step.keeps(answer)
        return Answered(step.answers.selected(items), keep)

    def shown(self) -> Shown:
        """The request for the first page."""
        return shown(self.step, self._first(), self.headers, self.content)

    def _first(self) -> httpx.URL:
        return self._pager.first(self.step.origin.url(self.target))


class Pager:
    """What a step's `pages` says; compiled once."""

    def __init__(self, pages: Pages, step: Compiled) -> None:
        """ValueError, in one line, when the settings can't be used."""
        if pages.next is not None and pages.cursor is not None:
            raise ValueError("pages: next and cursor exclude each other")
        self.settings = pages
        self.step = step
        self.items = selector(pages.items)
        self.by_link = pages.next == LINK
        where_next = None if self.by_link else pages.next or pages.cursor
        self.next = selector(where_next) if where_next is not None else None
        self.counting = pages.next is None and pages.cursor is None

    def first(self, url: httpx.URL) -> httpx.URL:
        """The first page's URL."""
        if not self.counting:
            return url
        return url.copy_set_param(self.settings.param, self.settings.first)


class Walk:
    """One way through an answer's pages. `url` is the page to fetch; None: it was the last."""

    def __init__(self, pager: Pager, url: httpx.URL) -> None:
        self.url: httpx.URL | None = url
        self._pager = pager
        self._seen: set[str] = {str(url)}
        self._bytes = 0

    def taken(self, answer: Answer) -> list[object]:
        """The items of the page that `url` named; `url` is the next one then.

        RecordFault when there is no list of items, or too much, or a way that goes in a circle.
        """
        step = self._pager.step
        assert self.url is not None  # or there was nothing to fetch
        self._bytes += len(answer.body)
        if self._bytes > step.http.max_response:
            raise self._fault(f"its pages are larger than {step.http.max_response} bytes")
        value = step.value(answer)
        items = step.answers.found(self._pager.items, value, "pages.items")
        if not isinstance(items, list | None):
            raise self._fault("pages.items finds no list in its answer")
        found = self._next(self.url, answer, value, bool(items))
        if found is not None:
            self._check(found)
        self.url = found
        return items or []

    def _check(self, url: httpx.URL) -> None:
        if str(url) in self._seen:
            raise self._fault("its pages go round in a circle")
        if len(self._seen) >= self._pager.settings.most:
            raise self._fault(f"it has more pages than {self._pager.settings.most} (pages.most)")
        self._seen.add(str(url))

    def _next(
        self, url: httpx.URL, answer: Answer, value: object, any_items: bool
    ) -> httpx.URL | None:
        pager, settings = self._pager, self._pager.settings
        if pager.counting:
            number = settings.first + len(self._seen)
            return url.copy_set_param(settings.param, number) if any_items else None
        found: object = None
        if pager.next is None:
            found = next_link(answer.headers.get("link"))
        else:
            found = pager.step.answers.found(pager.next, value, "pages")
        if found is None or found is False or found == "":
            return None
        if isinstance(found, bool | list | dict):
            raise self._fault("pages finds neither text nor a number in its answer")
        if settings.cursor is not None:
            return self._with_cursor(url, str(found))
        return pager.step.elsewhere(str(found), url)

    def _with_cursor(self, url: httpx.URL, cursor: str) -> httpx.URL:
        try:
            return url.copy_set_param(self._pager.settings.param, cursor)
        except httpx.InvalidURL:  # too long
            raise self._fault("pages finds a cursor that fits in no URL") from None

    def _fault(self, text: str) -> RecordFault:
        return RecordFault("Unusable answer", f"{self._pager.step.wire.where}: {text}")
