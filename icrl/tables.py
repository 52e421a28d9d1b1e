"""The tables that long runs leave: the command that made one, the names of its columns, its rows."""

import csv
from pathlib import Path
from typing import NamedTuple

from icrl._arguments import checked


class Table(NamedTuple):
    """A table of ``book/data``: the command in its first line, and its rows as text, by column."""

    command: str
    rows: list[dict[str, str]]


@checked
def read_table(path: str | Path) -> Table:
    """Read a table that a script of ``book/sweeps`` has written.

    Args:
        path: of a file whose first line is ``#``, a space and a command, whose second names the columns.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file does not begin so, or a row has more or fewer cells than there are columns.
    """
    path = Path(path)
    with path.open(newline="") as file:
        head = file.readline()
        if not head.startswith("# "):
            raise ValueError(f"path is {path.name}, which begins with {head[:60]!r}; it must be '# COMMAND'")
        reader = csv.DictReader(file)
        rows = list(reader)
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise ValueError(
                f"path is {path.name}, whose row {i} is {list(row.values())}; "
                f"it must have {len(reader.fieldnames)} cells"
            )
    return Table(head[2:].rstrip("\r\n"), rows)
