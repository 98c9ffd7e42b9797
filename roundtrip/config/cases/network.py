"""The network of a test: canned answers for requests, and a note of what doesn't fit."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import httpx

from roundtrip.config.cases.models import AnswerModel, RequestModel
from roundtrip.config.named import written

STEPS = "steps.invalid"  # the host that stands for steps that call none (RFC 2606 section 2)
UNANSWERED = 501  # what a request gets that no answer is for: a status that nobody tries again
SHOWN = 2000  # characters of a body in a report


class CannedNetwork(httpx.AsyncBaseTransport):
    """Answers requests from a list: the first entry that fits and is not used up."""

    def __init__(self, answers: Sequence[AnswerModel]) -> None:
        self._answers = answers
        self._used = [0] * len(answers)
        self._unanswered: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The canned answer; a status that means an error when there is none."""
        try:
            content = request.content
        except httpx.RequestNotRead:
            content = await request.aread()
        url, body = written(str(request.url)), written(content.decode("latin-1"))
        for place, answer in enumerate(self._answers):
            used_up = answer.times is not None and self._used[place] >= answer.times
            if not used_up and _fits(answer, request.method, url, body.encode("latin-1")):
                self._used[place] += 1
                return _response(answer)
        self._note(_described(request.method, url, body.encode("latin-1")))
        return httpx.Response(UNANSWERED, stream=httpx.ByteStream(b""))

    def complaints(self) -> list[str]:
        """Requests without an answer, and answers without their requests."""
        found = [f"no answer for {request}" for request in self._unanswered]
        for place, (answer, used) in enumerate(zip(self._answers, self._used, strict=True)):
            if used < (answer.times or 1):
                wanted = f"{answer.times} times, used {used}" if answer.times and used else "unused"
                found.append(f"answers[{place}]: {wanted} ({_named(answer)})")
        return found

    def _note(self, request: str) -> None:
        if request not in self._unanswered:
            self._unanswered.append(request)


def url_of_step(name: str) -> str:
    """The URL that a step is asked at which calls no host."""
    return f"http://{STEPS}/{name}"


def _fits(answer: AnswerModel, method: str, url: str, body: bytes) -> bool:
    if answer.step is not None:
        same = url == url_of_step(answer.step)
        return same and (answer.record is None or _has_body(answer.record, body))
    wanted = answer.request
    if wanted is None or (wanted.method is not None and wanted.method.upper() != method):
        return False
    if not glob(wanted.url, url):
        return False
    return wanted.body is None or _has_body(wanted.body, body)


def glob(pattern: str, text: str) -> bool:
    """Whether a text is what the pattern says, in which only `*` is special."""
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


def _has_body(wanted: object, body: bytes) -> bool:
    if isinstance(wanted, str):
        return body == wanted.encode()
    try:
        return bool(json.loads(body) == wanted)
    except (ValueError, RecursionError):
        return False


def _response(answer: AnswerModel) -> httpx.Response:
    headers = dict(answer.headers)
    content = b"" if answer.text is None else answer.text.encode()
    if "json_" in answer.model_fields_set:
        content = json.dumps(answer.json_, ensure_ascii=False).encode()
        if not any(name.lower() == "content-type" for name in headers):
            headers["content-type"] = "application/json"
    return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(content))


def _described(method: str, url: str, body: bytes) -> str:
    text = body.decode(errors="backslashreplace")
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
    place = url.removeprefix(f"http://{STEPS}/")
    if place != url:
        return f"step {place} with {shown}"
    return f"{method} {url}" + (f" with body {shown}" if body else "")


def _named(answer: AnswerModel) -> str:
    request: RequestModel | None = answer.request
    if request is None:
        return f"step {answer.step}"
    return f"{request.method or 'any method'} {request.url}"
