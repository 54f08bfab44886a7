"""Data frames of pandas, which is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def make_frame(rows: list[dict[str, Any]], columns: list[str]) -> pandas.DataFrame:
    """Make a data frame whose first column is the index."""
    frame: pandas.DataFrame = import_pandas().DataFrame(rows, columns=columns).set_index(columns[0])
    return frame


def import_pandas() -> Any:
    """Import pandas.

    :raises ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'sipmi[notebook]'") from error
    return pandas
