# Reads the files below a directory with pyarrow, and checks each row that the test wrote.
import datetime
import pathlib
import sys

import pyarrow.parquet as parquet

rows = 0
for path in pathlib.Path(sys.argv[1]).rglob("*.parquet"):
    file = parquet.ParquetFile(path)
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    assert len(groups) > 1, "several row groups"
    codec = {"none": "UNCOMPRESSED"}.get(sys.argv[2], sys.argv[2].upper())
    assert groups[0].column(0).compression == codec, groups[0].column(0).compression
    assert groups[0].column(0).statistics.min == 0
    for row in file.read().to_pylist():
        n = row["id"]
        assert n == rows and row["name"] == "é" * 200 and row["_headers"] == [("h", "1")], row
        dated = n % 4 == 1
        at = datetime.datetime(2026, 11, 24, 20, 0, 0, 1, tzinfo=datetime.timezone.utc)
        assert row["at"] == (at if dated else None), row["at"]
        assert row["day"] == (datetime.date(2026, 11, 24) if dated else None)
        assert (row["ratio"], row["ok"]) == ((0.5, True) if dated else (None, None))
        assert row["tags"] == [None, None, [], ["a", None]][n % 4], row["tags"]
        assert row["counts"] == [None, None, [], [("k", 1), ("l", None)]][n % 4], row["counts"]
        assert row["user"] == [None, None, {"name": "u", "age": None}, {"name": "u", "age": 3}][n % 4]
        assert row["_extra"] == [None, None, '{"new":1}', None][n % 4], row["_extra"]
        rows += 1
print(rows, "rows")
