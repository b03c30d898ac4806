"""Division of a camera's pixels into detector modules."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.events import EventList

MODULE_PIXELS = 80
"""Rows and columns of a HEXITEC module (JINST 7 P08027)."""


@dataclass(frozen=True, eq=False)
class ModuleLayout:
    """Which module every pixel belongs to, in the pixel order of the camera.

    Args:
        module: [pixel] int64, from 0; counted by panel, then along its rows, then along its columns.
        row: row of each pixel within its module, [pixel] int64.
        shape: rows and columns of every module.
    """

    module: Tensor
    row: Tensor
    shape: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return len(self.module)

    @property
    def modules(self) -> int:
        """Number of modules."""
        return self.pixels // (self.shape[0] * self.shape[1])

    def pixels_of(self, module: int) -> Tensor:
        """Pixels of one module, [rows * columns] int64, by row and column.

        Raises:
            UserError: there is no such module.
        """
        if not 0 <= module < self.modules:
            raise UserError(f"module is {module}; this camera has 0..{self.modules - 1}")
        return (self.module == module).nonzero().flatten()

    def summed(self, values: Tensor) -> Tensor:
        """Sums over the pixels of each module, [..., pixel] to [..., module], such as module rates."""
        total = values.new_zeros(*values.shape[:-1], self.modules)
        return total.index_add(-1, self.module.to(values.device), values)

    def checked(self, events: EventList) -> EventList:
        """The same events, after checking that they are plain events of these pixels.

        Raises:
            UserError: they are not.
        """
        if events.weight is not None:
            raise UserError("events carry weights; a readout needs single events without weights")
        return events.checked(self.pixels)


def modules_of(camera: Camera, rows: int = MODULE_PIXELS, columns: int = MODULE_PIXELS) -> ModuleLayout:
    """Each panel divided into modules of rows x columns pixels; a smaller panel is one module.

    A panel of 160 x 160 pixels has 2 x 2 modules. Each rotation position of a camera counts as modules of
    its own, since the positions are at different times.

    Raises:
        UserError: a module has no pixels, or a panel is not a whole number of modules.
    """
    detector = camera.spec.detector
    if rows < 1 or columns < 1:
        raise UserError(f"modules are {rows} x {columns} pixels; they need at least 1 x 1")
    rows, columns = min(rows, detector.rows), min(columns, detector.columns)
    if detector.rows % rows or detector.columns % columns:
        raise UserError(
            f"panels of {camera.name} are {detector.rows} x {detector.columns} pixels; "
            f"modules of {rows} x {columns} need to fill them evenly"
        )
    down, across = detector.rows // rows, detector.columns // columns
    module = (camera.pixel_panel * down + camera.pixel_row // rows) * across + camera.pixel_column // columns
    return ModuleLayout(module, torch.remainder(camera.pixel_row, rows), (rows, columns))
