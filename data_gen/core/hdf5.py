"""HDF5 files from strangers: what is looked at before any of their data is read."""

from __future__ import annotations

from collections.abc import Callable

import h5py

from data_gen.core.foreign_files import MOST_COMPRESSION

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def tree_of(file: h5py.File, most: int, wrong: Callable[[str], Exception]) -> dict[str, h5py.Dataset | None]:
    """Every data set of a file by name, and every group with None.

    A crafted file could name other files of this machine, load a filter, or claim data that it does not
    hold: it is refused.

    Args:
        file: opened for reading.
        most: data sets and groups that it may hold.
        wrong: makes the error to raise, from what is wrong with the file.
    """
    found: dict[str, h5py.Dataset | None] = {}
    open_groups = [("", file)]
    while open_groups:
        prefix, group = open_groups.pop()
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise wrong(f"holds the link {name}")
            item = group[key]
            found[name] = item if isinstance(item, h5py.Dataset) else None
            if len(found) > most:
                raise wrong(f"holds more than {most} data sets")
            if isinstance(item, h5py.Group):
                open_groups.append((f"{name}/", item))
            elif not isinstance(item, h5py.Dataset):
                raise wrong(f"holds {name}, which is no data set")
            else:
                check_dataset(item, name, wrong)
    return found


def check_dataset(data: h5py.Dataset, name: str, wrong: Callable[[str], Exception]) -> None:
    """Refuse a data set of other files, behind a filter of its own, or larger than what is stored of it.

    HDF5 allocates what a shape or a chunk claims before it looks whether the file holds it.

    Args:
        data: the data set; nothing of it is read.
        name: its name in messages.
        wrong: makes the error to raise.
    """
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if data.is_virtual or data.external or set(filters) - _FILTERS:
        raise wrong(f"keeps {name} in other files or behind a filter of its own")
    if filters.count(h5py.h5z.FILTER_DEFLATE) > 1:
        raise wrong(f"compresses {name} more than once")
    stored, claimed = data.id.get_storage_size(), bytes_of(data)
    if claimed > stored * (MOST_COMPRESSION if filters else 1):
        raise wrong(
            f"has {name} of shape {data.shape}, which claims {claimed / 1e9:.3g} GB where {stored} bytes are "
            "stored"
        )
    if bytes_of_chunk(data) > max(claimed, 1 << 20):
        raise wrong(f"has {name} of shape {data.shape} in chunks of shape {data.chunks}")


def bytes_of(data: h5py.Dataset) -> int:
    """Size of a data set in memory, in bytes, by what it claims."""
    return int(data.size or 0) * int(data.dtype.itemsize)


def bytes_of_chunk(data: h5py.Dataset) -> int:
    """Size of what has to be read at once to get any value of a data set, in bytes; 0 if it is not cut."""
    if data.chunks is None:
        return 0
    size = int(data.dtype.itemsize)
    for length in data.chunks:
        size *= int(length)
    return size
