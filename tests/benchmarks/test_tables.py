"""Results as markdown and as JSON."""

import json
import math

import pytest

from benchmarks.tables import cell_text, finite, markdown


def test_a_table_is_written_as_markdown() -> None:
    assert markdown(["server", "p95 s"], [["ours", 0.12345], ["lock", None]]) == (
        "| server | p95 s |\n| --- | --- |\n| ours | 0.123 |\n| lock |  |"
    )


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1234.5, "1234"),
        (12.345, "12.3"),
        (0.0012345, "0.00123"),
        (-1.5, "-1.50"),
        (0.0, "0"),
        (7, "7"),
        (math.inf, "never"),
        (math.nan, ""),
    ],
)
def test_a_number_has_three_digits(cell: float, text: str) -> None:
    assert cell_text(cell) == text


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        markdown(["a", "b"], [["only"]])


def test_json_has_null_for_what_is_no_number() -> None:
    found = finite({"p95": math.inf, "all": [(1.0, math.nan)], "name": "ours"})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "p95": None,
        "all": [[1.0, None]],
        "name": "ours",
    }
