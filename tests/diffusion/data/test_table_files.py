"""Files of tables as pyarrow reads them: columns, pictures, and what is damaged."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffusion.data.files import UnreadableError
from diffusion.data.images import DataError
from diffusion.data.table_files import GROUPS_IN_MEMORY, ArrowFile, open_table, refusing

PICTURES = [f"picture {i}".encode() for i in range(50)]


def write_arrow(path: Path, made: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)
    return path


def write_parquet(path: Path, made: pa.Table, rows: int = 3) -> Path:
    pq.write_table(made, path, row_group_size=rows)
    return path


@pytest.mark.parametrize("name", ["data.arrow", "DATA.ARROW", "data.parquet"])
def test_a_file_of_either_kind_gives_its_columns_rows_and_pictures(
    name: str, tmp_path: Path
) -> None:
    write = write_arrow if name.lower().endswith("arrow") else write_parquet
    made = pa.table({"image": PICTURES, "label": list(range(50))})
    found = open_table(write(tmp_path / name, made.replace_schema_metadata({"k": "v"})))
    assert isinstance(found, ArrowFile) == (write is write_arrow)
    assert (found.columns, found.num_rows) == (["image", "label"], 50)
    assert found.metadata[b"k"] == b"v"
    assert found.column("label") == list(range(50))
    assert [found.picture("image", row) for row in range(50)] == PICTURES


def test_rows_of_many_groups_are_found_in_any_order(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pa.table({"image": PICTURES}))
    assert pq.ParquetFile(path).num_row_groups > GROUPS_IN_MEMORY
    rows = np.random.default_rng(0).permutation(50).tolist()
    found = open_table(path)
    assert [found.picture("image", row) for row in rows] == [PICTURES[row] for row in rows]


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_a_picture_is_bytes_or_a_record_with_bytes(suffix: str, tmp_path: Path) -> None:
    cells = [{"bytes": b"x", "path": "0.png"}, {"bytes": None, "path": "/elsewhere/1.png"}, None]
    made = pa.table({"image": cells, "text": ["0.png", "1.png", "2.png"]})
    path = tmp_path / f"a.{suffix}"
    found = open_table((write_arrow if suffix == "arrow" else write_parquet)(path, made))
    assert found.picture("image", 0) == b"x"
    for column, row in (("image", 1), ("image", 2), ("text", 0)):
        with pytest.raises(UnreadableError, match="^the table holds no image file there$"):
            found.picture(column, row)


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_what_pyarrow_cannot_read_is_refused_with_the_file_in_one_line(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"hello, this is no table")
    with pytest.raises(DataError, match=rf"^{path}: cannot be read: .+$"), refusing(path):
        open_table(path)


def test_refusals_are_left_as_they_are_and_errors_without_a_text_are_named() -> None:
    refusal = DataError("a.parquet: no column of images")
    with pytest.raises(DataError) as caught, refusing(Path("a.parquet")):
        raise refusal
    assert caught.value is refusal
    with pytest.raises(DataError, match="^a.parquet: cannot be read: MemoryError$"):
        with refusing(Path("a.parquet")):
            raise MemoryError
    with pytest.raises(DataError, match="^a.parquet: cannot be read: of two lines$"):
        with refusing(Path("a.parquet")):
            raise OSError("of two\n  lines")


def test_rows_of_a_damaged_group_are_unreadable_with_the_reason_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [noise, noise[::-1]]}), path, row_group_size=1,
                   compression="snappy", use_dictionary=False)  # fmt: skip
    whole = bytearray(path.read_bytes())
    whole[4:200] = b"\xff" * 196
    path.write_bytes(whole)
    found = open_table(path)
    for _ in range(2):  # the second time from memory
        with pytest.raises(UnreadableError, match="^its rows cannot be read: .+$"):
            found.picture("image", 0)
    assert found.picture("image", 1) == noise[::-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child shows that no file ends the process")
def test_no_damage_to_an_arrow_file_ends_the_process(tmp_path: Path) -> None:
    pictures = [{"bytes": each, "path": "0.png"} for each in PICTURES[:20]]
    made = pa.table({"image": pictures, "label": [0, 1] * 10})
    path = write_arrow(tmp_path / "data-0.arrow", made)
    check = (
        "import sys, random; from pathlib import Path\n"
        "from diffusion.data.files import UnreadableError\n"
        "from diffusion.data.images import DataError\n"
        "from diffusion.data.table_files import open_table, refusing\n"
        "path = Path(sys.argv[1]); whole = path.read_bytes(); draw = random.Random(0)\n"
        "refused = 0\n"
        "for _ in range(300):\n"
        "    raw = bytearray(whole)\n"
        "    for _ in range(draw.randint(1, 3)):\n"
        "        raw[draw.randrange(len(raw))] = draw.randrange(256)\n"
        "    path.unlink(); path.write_bytes(raw)\n"
        "    try:\n"
        "        with refusing(path):\n"
        "            table = open_table(path)\n"
        "            for name in table.columns: table.column(name)\n"
        "    except DataError: refused += 1; continue\n"
        "    for row in range(table.num_rows):\n"
        "        try: table.picture('image', row)\n"
        "        except (UnreadableError, KeyError): pass\n"
        "print(refused)\n"
    )
    ended = subprocess.run([sys.executable, "-c", check, str(path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert 0 < int(ended.stdout) < 300, "some are refused, and some are read"
