"""Training tasks: their contract, and one LightningModule a file."""

from data_gen.forward_model.line_windows import Windows
from hspi_learn.tasks.adversary import AdversarialTask, Adversary
from hspi_learn.tasks.base import Inputs, Task, Watched, seeded_network
from hspi_learn.tasks.denoised import Denoised
from hspi_learn.tasks.denoising import Denoising, ScanObject
from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.reconstruction import GanReconstruction
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.tasks.segmentation import Critic, Segmentation

__all__ = [
    "AdversarialTask",
    "Adversary",
    "BackProjection",
    "Critic",
    "Denoised",
    "Denoising",
    "GanReconstruction",
    "Inputs",
    "ScanObject",
    "Segmentation",
    "Task",
    "Watched",
    "Windows",
    "seeded_network",
    "warm_up_cosine",
]
