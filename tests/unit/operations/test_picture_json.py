"""Pictures in JSON: whatever stands in a body, it reads the same as all other JSON does."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache_service.operations.picture_json import loads

TEXTS = st.text(st.sampled_from('A/+="\\b64_json: \n\u00e9{}[]'), max_size=20)
NAMES = st.sampled_from(["b64_json", "data", "other", '"b64_json', 'b64_json":"'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | TEXTS | st.sampled_from(["QUJD", "QQ==", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
ANSWERS = VALUES | st.fixed_dictionaries({"data": st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3)})


def as_text(value: Any) -> Any:
    """The same with every view as the string it stands for."""
    if isinstance(value, dict):
        return {name: as_text(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_text(member) for member in value]
    return bytes(value).decode() if isinstance(value, memoryview) else value


@given(ANSWERS, st.booleans(), st.sampled_from([(",", ":"), (" , ", " : "), (",\n", "\t:\r\n")]))
@example({"data": [{"b64_json": 0}], "b64_json": "QQ=="}, True, (",", ":"))
@example({"data": [{"b64_json": "QQ=="}, {"b64_json": None}, {"b64_json": "QUJD"}]}, True, (",", ":"))
def test_any_json_reads_the_same(answer: Any, ascii_only: bool, separators: tuple[str, str]) -> None:
    body = json.dumps(answer, ensure_ascii=ascii_only, separators=separators).encode()
    assert as_text(loads(body)) == orjson.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[{"b64_json":"QQ==","b64_json":"QUJD"}]}',
        b'{"data":[{"b64\\u005fjson":"QUJD"}],"b64_json":"QQ=="}',
        b'{"data":[{"b64_json":"Q\\/=="}]}',
        b'{"data":[{"b64_json":"\\""}]}',
    ],
)
def test_what_no_library_writes_reads_the_same(body: bytes) -> None:
    assert as_text(loads(body)) == orjson.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b'{"data":[{"b64_json":"QQ', b'{"data":[{"b64_json":"QQ=="}', b'{"b64_json":""x"']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(body)


def test_pictures_are_not_copied() -> None:
    """They are views of the body, one for each item that has one."""
    body = b'{"data":[{"b64_json":"QUJD","revised_prompt":"x"},{"url":"u"},{"b64_json":"QQ=="}]}'
    found = [item.get("b64_json") for item in loads(body)["data"]]
    assert [isinstance(one, memoryview) for one in found] == [True, False, True]
    assert [one and one.obj is body for one in found] == [True, None, True]
