"""The scanner of JSON: where values begin and end is what decoders say, and no text takes it long or deep."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.sources.json_scan import ScanError, Scanner, end_of, holds_more

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(['"', "\\", "[", "]}", '\\"']),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5),
    max_leaves=40,
)
BLANKS = st.text(" \t\n\r", max_size=3).map(str.encode)


@st.composite
def texts(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> bytes:
    """The JSON of a value, as any encoder may write it."""
    value = draw(values)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1])))
    return text.encode("utf-8", "surrogatepass")


def parsed(text: bytes) -> Any:
    return json.loads(text.decode("utf-8", "surrogatepass"))


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # what is not a number is not equal to itself


@given(texts(), st.binary(max_size=5), st.sampled_from([b"", b",", b"]", b"}", b" ,[1]", b"}]"]))
def test_a_value_ends_where_a_decoder_says_that_it_does(text: bytes, before: bytes, behind: bytes) -> None:
    assert end_of(before + text + behind, len(before)) == len(before) + len(text)


@given(texts(st.dictionaries(st.text(), VALUES)), BLANKS, BLANKS)
def test_the_members_of_an_object_are_those_that_a_decoder_finds(text: bytes, before: bytes, behind: bytes) -> None:
    scanner = Scanner(before + text + behind)
    found = {name.decode("utf-8", "surrogatepass"): parsed(scanner.value()) for name in scanner.members()}
    scanner.end()
    assert same(found, parsed(text))


@given(texts(st.lists(VALUES)), BLANKS, BLANKS)
def test_the_elements_of_an_array_are_those_that_a_decoder_finds(text: bytes, before: bytes, behind: bytes) -> None:
    scanner = Scanner(before + text + behind)
    found = [parsed(scanner.value()) for _ in scanner.elements()]
    scanner.end()
    assert same(found, parsed(text))


@given(texts(st.lists(st.dictionaries(st.sampled_from("abc"), st.lists(VALUES, max_size=3), max_size=3), max_size=3)))
def test_what_is_not_looked_at_is_passed_over_and_what_is_gone_into_is_ended(text: bytes) -> None:
    scanner, found = Scanner(text), []
    for _ in scanner.elements():
        for name in scanner.members():
            if name == b"b":
                found += [parsed(scanner.value()) for _ in scanner.elements()]
    scanner.end()
    assert same(found, [value for members in parsed(text) for value in members.get("b", ())])


@given(texts(st.lists(VALUES, min_size=1) | st.dictionaries(st.text(), VALUES, min_size=1)), st.integers(1, 10**6))
def test_a_text_that_is_cut_has_no_end(text: bytes, cut: int) -> None:
    with pytest.raises(ScanError):
        end_of(text[: -(cut % len(text) or 1)], 0)


@given(st.binary(max_size=60) | st.text('[]{}",:\\ 1a', max_size=60).map(str.encode))
def test_any_bytes_have_an_end_or_none(text: bytes) -> None:
    text = text.lstrip()
    try:
        end = end_of(text, 0)
    except ScanError:
        with pytest.raises(ValueError):
            parsed(text)
    else:
        assert 0 < end <= len(text)
    scanner = Scanner(text)
    try:
        for _ in scanner.members() if scanner.is_at(b"{") else scanner.elements():
            pass
        scanner.end()
    except ScanError:
        with pytest.raises((ValueError, AssertionError)):
            assert isinstance(parsed(text), list | dict)


@pytest.mark.parametrize(
    "text",
    [
        b"[1]]", b'{"a":1 "b":2}', b"{1:2}", b'{"a" 1}', b"[1 2]", b"[1,]", b"[,]", b'{"a":1,}', b"[1}", b"[[}]",
        b'{"a":[}]', b'{"a"}',
    ],
)  # fmt: skip
def test_what_stands_around_values_is_read_strictly(text: bytes) -> None:
    scanner = Scanner(text)
    with pytest.raises(ScanError):
        for _ in scanner.members() if scanner.is_at(b"{") else scanner.elements():
            pass
        scanner.end()


def test_names_may_be_written_with_escapes() -> None:
    scanner = Scanner(b'{"\\u0061b\\"":1,"\\ud800":2,"\\x":3}')
    assert list(scanner.members()) == [b'ab"', b"\\ud800", b"\\x"]


def objects_in(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict) + sum(objects_in(item) for item in inside)


@given(texts(), st.integers(0, 8))
def test_objects_are_counted_and_not_the_braces_in_texts(text: bytes, most: int) -> None:
    assert holds_more(text, most) == (objects_in(parsed(text)) > most)


SHAPES = {
    "brackets": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "objects": lambda size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
    "both": lambda size: b'[{"a":' * (size // 8) + b"1" + b"}]" * (size // 8),
    "empty lists": lambda size: b"[[]" + b",[]" * (size // 3) + b"]",
    "lists in lists": lambda size: b"[1" + b",[[]]" * (size // 5) + b"]",
    "lists that do not end": lambda size: b"[" + b"[[]," * (size // 4),
    "a text": lambda size: b'["' + b"[" * size + b'"]',
    "a text that does not end": lambda size: b'["' + b"[" * size,
    "texts": lambda size: b'[""' + b',""' * (size // 3) + b"]",
    "escapes": lambda size: b'["' + b'\\"' * (size // 2) + b'"]',
    "blanks": lambda size: b"[" + b" " * size + b"]",
    "a number": lambda size: b"[" + b"1" * size + b"]",
    "opened in a text, again and again": lambda size: b'["{[","' * (size // 7),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_time_grows_with_the_text_and_not_faster_whatever_stands_in_it(shape: str) -> None:
    """Eight times as much takes about eight times as long; what is quadratic takes sixty-four times as long."""

    def took(size: int) -> float:
        text, least = SHAPES[shape](size), 1e9
        for _ in range(3):
            began = time.process_time()
            try:
                assert end_of(text, 0) == len(text)
            except ScanError:
                assert "not end" in shape or "again" in shape
            least = min(least, time.process_time() - began)
        return least

    little, much = took(1 << 17), took(1 << 20)
    assert much < 24 * max(little, 0.001), (little, much)
