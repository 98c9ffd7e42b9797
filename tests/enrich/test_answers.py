"""What one payload remembers in memory: bounded, the least recently used go, and it says so."""

from __future__ import annotations

from roundtrip.enrich.answers import ENTRY_OVERHEAD, MemoryAnswers


def four() -> MemoryAnswers:
    """Space for four answers of one byte."""
    return MemoryAnswers(4 * (ENTRY_OVERHEAD + 1))


def test_what_was_put_is_found() -> None:
    answers = four()
    answers.put(b"a", b"1")
    answers.put(b"b", b"")
    assert [answers.get(name) for name in (b"a", b"b", b"c")] == [b"1", b"", None]
    assert not answers.evicted


def test_the_least_recently_used_answer_goes_when_space_is_needed() -> None:
    answers = four()
    for name in (b"a", b"b", b"c", b"d"):
        answers.put(name, b"1")
    answers.get(b"a")
    assert not answers.evicted
    answers.put(b"e", b"1")
    assert [answers.get(name) for name in (b"a", b"b", b"e")] == [b"1", None, b"1"]
    assert answers.evicted


def test_an_answer_too_large_for_the_space_is_not_kept_and_empties_nothing() -> None:
    answers = four()
    answers.put(b"a", b"1")
    answers.put(b"b", b"x" * 1000)
    assert (answers.get(b"a"), answers.get(b"b")) == (b"1", None)
    assert answers.evicted


def test_an_answer_replaced_by_one_too_large_is_not_served_any_more() -> None:
    answers = four()
    answers.put(b"a", b"1")
    answers.put(b"a", b"x" * 1000)
    assert answers.get(b"a") is None


def test_an_answer_put_twice_counts_once() -> None:
    answers = four()
    for _ in range(10):
        answers.put(b"a", b"1")
    answers.put(b"b", b"2")
    assert (answers.get(b"a"), answers.get(b"b")) == (b"1", b"2")
    assert not answers.evicted
