"""Training tasks: their contract, and one LightningModule a file."""

from data_gen.forward_model.line_windows import Windows
from hspi_learn.tasks.adversary import AdversarialTask, Adversary
from hspi_learn.tasks.base import Inputs, Task, Watched, seeded_network
from hspi_learn.tasks.classification import Classification
from hspi_learn.tasks.denoised import Denoised
from hspi_learn.tasks.denoising import Denoising, ScanObject
from hspi_learn.tasks.noise2noise import Noise2NoiseReconstruction
from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.posterior import PosteriorReconstruction
from hspi_learn.tasks.reconstruction import GanReconstruction
from hspi_learn.tasks.scan_classes import HotSpots, ScanClasses, UptakePattern
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.tasks.segmentation import Critic, Segmentation
from hspi_learn.tasks.unrolled import UnrolledReconstruction

__all__ = [
    "AdversarialTask",
    "Adversary",
    "BackProjection",
    "Classification",
    "Critic",
    "Denoised",
    "Denoising",
    "GanReconstruction",
    "HotSpots",
    "Inputs",
    "Noise2NoiseReconstruction",
    "PosteriorReconstruction",
    "ScanClasses",
    "ScanObject",
    "Segmentation",
    "Task",
    "UnrolledReconstruction",
    "UptakePattern",
    "Watched",
    "Windows",
    "seeded_network",
    "warm_up_cosine",
]
