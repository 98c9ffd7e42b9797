"""Many records in one call: how they are put into it, and what to do when it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b

import httpx

from roundtrip.enrich.check import sends_content
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.graph import BATCH
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Batch
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.steps.http.calls import Shown, repeat_key, shown
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.rendering import encoded
from roundtrip.enrich.steps.http.wire import Answer, plus
from roundtrip.enrich.steps.matching import Matching
from roundtrip.template import Field, Fields, Template, percent, structure

DIVIDED = frozenset({400, 413, 414, 422})  # may be one item's fault, or that of their number

Outcome = Answered | RecordFault


class BatchCall:
    """What one record sends in a batch."""

    __slots__ = ("_batches", "item", "key", "text")

    def __init__(self, batches: HttpBatches, item: object, text: str, key: bytes) -> None:
        self._batches = batches
        self.item = item
        self.text = text
        self.key = key

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`: a batch of one."""
        (outcome,) = await self._batches.together([self], run)
        if isinstance(outcome, RecordFault):
            raise outcome
        return outcome

    def shown(self) -> Shown:
        """The request of a batch of one."""
        return self._batches.shown([self])


class HttpBatches:
    """What a step's `batch` says; compiled once."""

    def __init__(self, batch: Batch, step: Compiled) -> None:
        """ValueError, in one line, when the settings can't be used."""
        self._step = step
        self._matching = Matching(batch)
        if others := sorted({field.name for field in step.fields} - {BATCH}):
            raise ValueError(
                f"batch: {{{others[0]}}} differs by record; use batch.item and {{batch}}"
            )
        in_url = any(field.name == BATCH for field in step.url.fields)
        self._is_body = not step.fields
        if self._is_body and (step.body.given or not sends_content(step.http)):
            raise ValueError("batch: say where the items go, with {batch}")
        self._key = self._key_template(batch, in_url or step.http.json is None)
        self._item, self.fields = self._item_maker(batch)
        if self._key is not None:
            self.fields += self._key.fields
        some = [BatchCall(self, 0, "0", b"")]
        # what stands around the items: the same item means something else in another place
        self._around = f"{self._url(some)} ", b"%b " % (self._content(some) or b"")

    def call(self, fields: Fields) -> BatchCall:
        """What a record sends. RecordFault when it lacks something."""
        item = self._item(fields)
        text = "" if self._key is None else self._key.render(fields, str)
        step = self._step
        target, content = self._around
        key = step.key(target + percent(text), step.rendered({}), content + encoded(item))
        return BatchCall(self, item, text, key)

    def shown(self, calls: Sequence[BatchCall]) -> Shown:
        """The request that these calls make together."""
        step = self._step
        return shown(step, self._url(calls), step.rendered({}), self._content(calls))

    async def together(self, calls: Sequence[BatchCall], run: Run) -> list[Outcome]:
        """See `Step.together`. A refused batch is halved until the items at fault are alone."""
        try:
            answer = await self._sent(calls, run)
            return self._outcomes(calls, answer)
        except RecordFault as fault:
            if len(calls) == 1 or fault.status not in DIVIDED:
                return [fault.of(self._step.name)] * len(calls)
        half = len(calls) // 2
        first = await self.together(calls[:half], run)
        return first + await self.together(calls[half:], run)

    async def _sent(self, calls: Sequence[BatchCall], run: Run) -> Answer:
        step = self._step
        headers = step.rendered({})
        if step.repeat_header is not None:
            keys = blake2b(b"".join(call.key for call in calls), digest_size=16).digest()
            headers = plus(headers, step.repeat_header, repeat_key(run, keys))
        attempt = partial(
            step.wire.attempt,
            run,
            step.method,
            self._url(calls),
            headers,
            self._content(calls),
            step.idempotent,
        )
        return await step.gate.call(attempt, run)

    def _outcomes(self, calls: Sequence[BatchCall], answer: Answer) -> list[Outcome]:
        step = self._step
        keys = [call.text for call in calls]
        found = self._matching.answers(step.value(answer), keys, step.wire.where)
        keep = step.keeps(answer)
        return [self._outcome(one, keep) for one in found]

    def _outcome(self, found: object, keep: bool) -> Outcome:
        if isinstance(found, RecordFault):
            return found
        try:
            return Answered(self._step.answers.selected(found), keep)
        except RecordFault as fault:
            return fault

    def _url(self, calls: Sequence[BatchCall]) -> httpx.URL:
        joined = ",".join(percent(call.text) for call in calls)
        step = self._step
        return step.origin.url(step.url.target({BATCH: "all of them"}, lambda _: joined))

    def _content(self, calls: Sequence[BatchCall]) -> bytes | None:
        items = [call.item for call in calls]
        if self._is_body:
            return encoded(items)
        if self._step.http.json is not None:
            return self._step.body.make({BATCH: items})
        return self._step.body.make({BATCH: ",".join(call.text for call in calls)})

    def _key_template(self, batch: Batch, as_text: bool) -> Template | None:
        if batch.key is not None:
            return Template(batch.key)
        if self._is_body or not as_text:
            return None
        if isinstance(batch.item, str):
            return Template(batch.item)
        raise ValueError("batch: {batch} in a text is the records' keys: give batch.key")

    def _item_maker(self, batch: Batch) -> tuple[Callable[[Fields], object], tuple[Field, ...]]:
        if batch.item is not None:
            return structure(batch.item)
        if self._step.settings.send is not None:
            return self._step.sent.some, ()
        if self._is_body or self._step.http.json is not None:
            raise ValueError("batch: say what a record sends, with batch.item or send")
        return (lambda fields: None), ()
