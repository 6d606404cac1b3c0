"""Range, If-Range and If-None-Match (RFC 9110, 13 and 14): which part of a file is sent."""

from __future__ import annotations

import pytest

from otabench.cloud.artifacts.http_range import Part, judge

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Part(0, 100, 200)),
        ("bytes=0-9", Part(0, 10, 206)),
        ("bytes=90-", Part(90, 10, 206)),
        ("bytes=99-99", Part(99, 1, 206)),
        ("bytes=90-1000", Part(90, 10, 206)),
        ("bytes=-10", Part(90, 10, 206)),
        ("bytes=-1000", Part(0, 100, 206)),
        ("bytes=100-", Part(0, 0, 416)),
        ("bytes=100-200", Part(0, 0, 416)),
        ("bytes=-0", Part(0, 0, 416)),
        ("bytes=9-5", Part(0, 100, 200)),
        ("bytes=-", Part(0, 100, 200)),
        ("bytes=0-1,5-6", Part(0, 100, 200)),
        ("bytes=a-b", Part(0, 100, 200)),
        ("lines=0-9", Part(0, 100, 200)),
        ("", Part(0, 100, 200)),
    ],
)
def test_a_range_is_answered_by_a_part_or_416_or_is_ignored(header: str | None, expected: Part) -> None:
    assert judge(length=100, etag=TAG, range_=header) == expected


def test_an_empty_file_has_no_part() -> None:
    assert judge(length=0, etag=TAG, range_="bytes=0-") == Part(0, 0, 416)
    assert judge(length=0, etag=TAG) == Part(0, 0, 200)


def test_if_range_gives_the_part_of_the_same_file_and_the_whole_of_another() -> None:
    assert judge(length=100, etag=TAG, range_="bytes=50-", if_range=TAG).status == 206
    assert judge(length=100, etag=TAG, range_="bytes=50-", if_range='"old"').status == 200
    assert judge(length=100, etag=TAG, range_="bytes=50-", if_range=f"W/{TAG}").status == 200


@pytest.mark.parametrize(("header", "status"), [(TAG, 304), (f'"x", W/{TAG}', 304), ("*", 304), ('"x"', 200)])
def test_if_none_match_with_the_files_tag_is_304(header: str, status: int) -> None:
    assert judge(length=100, etag=TAG, if_none_match=header).status == status
