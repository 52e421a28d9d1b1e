"""Tables of the book: what is read, and what is refused."""

import pytest

from icrl.tables import read_table


def test_command_and_rows_by_column(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('# python run.py --seed 0\nname,value\n"one, two",1.5\nthree,\n')
    command, rows = read_table(path)
    assert command == "python run.py --seed 0"
    assert rows == [{"name": "one, two", "value": "1.5"}, {"name": "three", "value": ""}]
    assert read_table(str(path)).rows == rows


def test_lines_may_end_either_way(tmp_path):
    """A break within quotes is kept as it stands."""
    (path := tmp_path / "table.csv").write_bytes(b'# run\r\nname\r\n"one\r\ntwo"\r\n')
    assert read_table(path) == ("run", [{"name": "one\r\ntwo"}])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("name,value\none,1\n", r"table.csv, which begins with 'name,value\\n'; it must be '# COMMAND'"),
        ("", "which begins with ''"),
        ("# run\nname,value\none,1\ntwo\n", "row 1 is .*; it must have 2 cells"),
        ("# run\nname,value\none,1,2\n", "row 0 is .*; it must have 2 cells"),
    ],
)
def test_files_that_are_no_tables(tmp_path, text, rule):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rule):
        read_table(path)
