"""``-k EXPR``: words joined by and, or, not and parentheses; a word matches the ids that contain it.

A word after ^ matches the ids that begin with it: ``^train/`` is all trainings.

It also matches the ids that contained it before they were renamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from bnsuite.record.errors import InputError
from bnsuite.record.renames import old_id

Match = Callable[[str], bool]

#: Far more than a person writes, far fewer than would exhaust the stack.
MAX_TOKENS = 200
#: A word that begins so matches the ids that begin with the rest of it.
BEGINNING = "^"


def matcher(expression: str) -> Match:
    """A predicate on case ids, as pytest's -k has it: letter case does not count."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    if not tokens:
        raise InputError("-k: the expression is empty; give a part of a case id, see `bnsuite list`")
    if len(tokens) > MAX_TOKENS:
        raise InputError(f"-k: the expression has {len(tokens)} words and signs; {MAX_TOKENS} are the most")
    rest = _Tokens(tokens, expression)
    match = _either(rest)
    if rest.peek() is not None:
        raise rest.error(f"unexpected {rest.peek()!r}")
    return match


def expression(names: Iterable[str]) -> str | None:
    """Returns an expression that matches these ids; None where there are none, or too many for one.

    It also matches ids that contain one of them.
    """
    words = sorted(set(names))
    if not 0 < 2 * len(words) - 1 <= MAX_TOKENS or any(set("()") & set(word) for word in words):
        return None
    return " or ".join(words)


class _Tokens:
    def __init__(self, tokens: list[str], expression: str) -> None:
        self._tokens, self._expression, self._next = tokens, expression, 0

    def peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def take(self, wanted: str) -> bool:
        if self.peek() != wanted:
            return False
        self._next += 1
        return True

    def word(self) -> str:
        token = self.peek()
        if token is None or token in ("and", "or", ")"):
            raise self.error("a word is missing" + (f" before {token!r}" if token else " at the end"))
        self._next += 1
        return token

    def error(self, what: str) -> InputError:
        return InputError(f"-k {self._expression!r}: {what}; write it like 'batch_norm2d and not nhwc'")


def _either(tokens: _Tokens) -> Match:
    left = _both(tokens)
    while tokens.take("or"):
        left = _or(left, _both(tokens))
    return left


def _both(tokens: _Tokens) -> Match:
    left = _single(tokens)
    while tokens.take("and"):
        left = _and(left, _single(tokens))
    return left


def _single(tokens: _Tokens) -> Match:
    if tokens.take("not"):
        inner = _single(tokens)
        return lambda name: not inner(name)
    if tokens.take("("):
        inner = _either(tokens)
        if not tokens.take(")"):
            raise tokens.error("a closing parenthesis is missing")
        return inner
    word = tokens.word().lower()
    if word.startswith(BEGINNING):
        start = word.removeprefix(BEGINNING)
        return lambda name: name.lower().startswith(start) or old_id(name).lower().startswith(start)
    return lambda name: word in name.lower() or word in old_id(name).lower()


def _or(left: Match, right: Match) -> Match:
    return lambda name: left(name) or right(name)


def _and(left: Match, right: Match) -> Match:
    return lambda name: left(name) and right(name)
