"""HDF5 files from strangers: what is looked at before any of their data is read."""

from __future__ import annotations

from collections.abc import Callable

import h5py

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def tree_of(file: h5py.File, most: int, wrong: Callable[[str], Exception]) -> dict[str, h5py.Dataset | None]:
    """Every data set of a file by name, and every group with None.

    A crafted file could name other files of this machine or load a filter: it is refused.

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
            elif not isinstance(item, h5py.Dataset) or not _is_stored_here(item):
                raise wrong(f"keeps {name} in other files or behind a filter of its own")
    return found


def _is_stored_here(data: h5py.Dataset) -> bool:
    """Whether a data set lies in its file, behind no filters but HDF5's own."""
    plist = data.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    return not (data.is_virtual or data.external or filters - _FILTERS)
