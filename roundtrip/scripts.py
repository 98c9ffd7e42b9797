"""Which of a command's arguments are code: a shell's script, an interpreter's one-liner.

What stands for a field there is not text but part of a program, whatever quotes are around it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_VERSION = re.compile(r"[0-9.]+$")
_LONG = frozenset(
    {
        "--command",
        "--eval",
        "--expression",
        "--init-command",
        "--print",
        "--run",
        "--session-command",
        "--source",
        "--split-string",
    }
)


class _Program(NamedTuple):
    """How a program's options are read; letters, as getopt(3) has them."""

    code: str  # whose argument is code
    own: str = ""  # whose argument is something else, in the same word or the next
    rest: str = ""  # whose argument, if any, is the rest of the same word
    last: str = ""  # after whose argument, or the code, no option of the program comes
    operands: int = 0  # that may stand before its options
    first: bool = False  # whether the first operand is code, unless an option gave that
    deferred: bool = False  # whether the code is the first operand after all options
    file: str = ""  # whose argument names a file with the code
    instead: str = ""  # how the code gets at an argument


_SHELL = _Program("c", own="oO", deferred=True, instead='"$1"')
_AS_USER = _Program("c", own="sgGwTu", operands=1, instead='"$1"')
_AWK = _Program("e", own="Fvil", first=True, file="fE", instead="ARGV[1]")
_NODE = _Program("ep", own="rC", deferred=True, instead="process.argv[1]")
_ALIKE = (
    ("sh ash bash csh dash fish ksh lksh mksh posh rbash tcsh yash zsh", _SHELL),
    ("su runuser sg", _AS_USER),
    ("awk gawk mawk nawk original-awk", _AWK),
    ("node nodejs", _NODE),
    ("python pypy", _Program("c", own="WX", last="m", instead="sys.argv[1]")),
)
_PROGRAMS = {
    **{name: program for names, program in _ALIKE for name in names.split()},
    "env": _Program("S", own="uC", instead="an argument of its own"),
    "flock": _Program("c", own="wE", operands=1),
    "lua": _Program("e", own="l", instead="arg[1]"),
    "perl": _Program("eE", own="I", rest="MmiFxCD", instead="$ARGV[0]"),
    "php": _Program("rBRE", own="cdfz", instead="$argv[1]"),
    "Rscript": _Program("e", instead="commandArgs()"),
    "ruby": _Program("e", own="rICE", rest="FKTWix", instead="ARGV[0]"),
    "script": _Program("c", own="BEIOTmo", operands=1),
    "sed": _Program("e", own="l", rest="i", first=True, file="f"),
}


def refuse(words: Sequence[str], holds: Callable[[str], bool]) -> None:
    """Refuse a command in whose code a placeholder stands; `holds` says whether a text has one.

    The programs that take code are looked for anywhere: env, nice, sudo and others start them.

    Raises:
        ValueError: in one line, with the form that is right.
    """
    for at, word in enumerate(words):
        name = os.path.basename(word)
        program = _PROGRAMS.get(name) or _PROGRAMS.get(_VERSION.sub("", name))
        if program is not None:
            code = list(_Reading(program, words[at + 1 :]).code())
            if any(map(holds, code)):
                raise ValueError(_refusal(name, program))
            if code:
                return  # What follows are arguments.


def _refusal(name: str, program: _Program) -> str:
    text = f"a placeholder in the code that {name} runs would be run as a part of it"
    if not program.instead:
        return f"{text}; write a script of your own, and give it the placeholder as an argument"
    if program in (_SHELL, _AS_USER):
        return f"{text}; write \"$1\" there, and after the script: sh '{{...}}'"
    if program.code == "S":
        return f"{text}; write each argument by itself, without -S"
    return f"{text}; write {program.instead} there, and the placeholder as an argument after it"


class _Reading:
    """Reads what follows a program's name as that program does."""

    def __init__(self, program: _Program, words: Sequence[str]) -> None:
        self._program = program
        self._left = list(words)
        self._expected = program.first  # Whether the next operand is code.

    def code(self) -> Iterator[str]:
        """The words that are code, or hold some."""
        operands = 0
        while self._left:
            word = self._left.pop(0)
            if word.startswith(("-", "+")) and word not in ("-", "--"):
                yield from self._option(word)
            elif word == "--" and not self._program.operands:
                yield from self._left[: self._expected]
                return
            elif self._expected and word != "-":
                yield word
                return
            elif word not in ("-", "--"):
                operands += 1
                if operands > self._program.operands:
                    return

    def _option(self, word: str) -> Iterator[str]:
        kind, attached = _kind(self._program, word)
        if kind == "last":
            self._left.clear()
        elif kind == "code" and self._program.deferred and not attached:
            self._expected = True
            del self._left[: sum(letter in self._program.own for letter in word)]
        elif kind == "code":
            self._expected = False
            yield from [word] if attached else self._taken()
            if self._program.last:
                self._left.clear()
        elif kind in ("own", "file"):
            self._expected = self._expected and kind == "own"
            if not attached:
                self._taken()
        elif kind == "unsure" and not (attached or self._program.first or self._option_is_next()):
            self._taken()

    def _option_is_next(self) -> bool:
        return bool(self._left) and self._left[0].startswith("-")

    def _taken(self) -> list[str]:
        return [self._left.pop(0)] if self._left else []


def _kind(program: _Program, word: str) -> tuple[str, bool]:
    """What a word of options takes, and whether it is in the same word."""
    if word.startswith("--"):
        name, is_attached, _ = word.partition("=")
        kind = "code" if name in _LONG else "file" if name == "--file" else "unsure"
        return kind, bool(is_attached)
    for place, letter in enumerate(word[1:], 2):
        if letter in program.code:
            # Letters after a shell's are options, too: `sh -ce`.
            return "code", place < len(word) and not program.deferred
        for kind in ("own", "file", "last"):
            if letter in getattr(program, kind):
                return kind, place < len(word)
        if letter in program.rest:
            break
    return "none", True
