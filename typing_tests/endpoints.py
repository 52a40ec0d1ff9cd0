"""What a caller sees of each kind of endpoint."""

from __future__ import annotations

from typing import assert_type

import motet
from services import Batches, Found, Kinds, More, Question, Vector


def endpoints(kinds: Kinds) -> None:
    assert_type(kinds.plain(1), motet.Call[int])
    assert_type(kinds.plain(1, by=2), motet.Call[int])
    assert_type(kinds.plain(x=1), motet.Call[int])
    assert_type(kinds.asynchronous(1), motet.Call[int])
    assert_type(kinds.nothing(), motet.Call[None])
    assert_type(kinds.maybe("x"), motet.Call[str | None])
    assert_type(kinds.maybe_many("x"), motet.Call[list[str] | None])
    assert_type(kinds(Question(text="x")), motet.Call[Found])
    assert_type(kinds.helper(1), int)


def generators(kinds: Kinds) -> None:
    assert_type(kinds.iterate(3), motet.Stream[int])
    assert_type(kinds.generate(3), motet.Stream[int])
    assert_type(kinds.iterate_async(3), motet.Stream[str])
    assert_type(kinds.generate_async(n=3), motet.Stream[str])


def endpoints_with_options(kinds: Kinds) -> None:
    assert_type(kinds.with_timeout(1), motet.Call[str])
    assert_type(kinds.without_limit(1), motet.Call[str])
    assert_type(kinds.stream_with_timeout(1), motet.Stream[int])
    assert_type(kinds.with_empty_parentheses(1), motet.Call[str])


def overrides(more: More) -> None:
    assert_type(more.plain(1), motet.Call[int])
    assert_type(more.asynchronous(1), motet.Call[int])
    assert_type(more.iterate(1), motet.Stream[int])
    assert_type(more.added(1), motet.Call[float])
    assert_type(more.maybe("x"), motet.Call[str | None])
    as_base: Kinds = more
    assert_type(as_base.plain(1), motet.Call[int])


def batches(batches: Batches) -> None:
    assert_type(batches.bare("x"), motet.Call[int])
    assert_type(batches.embed("x"), motet.Call[Vector])
    assert_type(batches.embed_async("x"), motet.Call[Vector])
    assert_type(batches.some_fail("x"), motet.Call[int])
    assert_type(batches.some_fail_async("x"), motet.Call[int])
    assert_type(batches.maybe("x"), motet.Call[str | None])
    assert_type(batches.questions(Question(text="x")), motet.Call[Found])
