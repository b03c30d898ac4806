"""Training tasks, one LightningModule a file."""

from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.reconstruction import GanReconstruction

__all__ = ["BackProjection", "GanReconstruction"]
