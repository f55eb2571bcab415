"""Arrays out of files that a stranger may have made: no pickles, nothing larger than a clip's tracks can be."""

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np

LARGEST = 256 * 2**20
"""Bytes of one array: two hours of flow. A damaged header may promise more than there is memory."""


def read_array(path: Path, field: str, content: bytes | None = None) -> np.ndarray:
    """The array of a ``.npy``, or the one named ``field`` of a ``.npz``; ``content``: what the file holds, where it
    is part of another one.

    ValueError names a file that does not hold it, holds objects, or promises more than LARGEST bytes.
    """
    try:
        with path.open("rb") if content is None else BytesIO(content) as file:
            if path.suffix != ".npz":
                return _read(file, path.stat().st_size if content is None else len(content))
            with ZipFile(file) as archive:
                size = archive.getinfo(f"{field}.npy").file_size
                if size > LARGEST:
                    raise ValueError(f"{size} bytes")
                with archive.open(f"{field}.npy") as member:
                    return _read(member, size)
    except Exception as error:  # numpy, zipfile, zlib and tokenize raise a dozen kinds for damaged headers
        raise ValueError(f"{path}: no readable array {field!r}; remove the file and prepare again") from error


def fields_of(path: Path) -> set[str]:
    """Names of the arrays in a ``.npz``. ValueError where it cannot be read."""
    try:
        with ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except Exception as error:
        raise ValueError(f"{path}: cannot be read; remove the file and prepare again") from error


def _read(file, size: int) -> np.ndarray:
    """numpy's format, its header first: the promised array must not be larger than the file is."""
    major, minor = np.lib.format.read_magic(file)
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
    shape, fortran, dtype = read_header(file)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject or dtype.kind not in "fiub" or not 0 <= count * dtype.itemsize <= min(size, LARGEST):
        raise ValueError(f"{dtype} {shape} in {size} bytes")
    array = np.frombuffer(bytearray(file.read(count * dtype.itemsize)), dtype, count)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
