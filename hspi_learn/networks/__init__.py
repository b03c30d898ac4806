"""Networks: generators and discriminators of activity maps, and the mode that networks are evaluated in."""

from hspi_learn.networks.discriminator import PatchDiscriminator
from hspi_learn.networks.evaluation_mode import evaluation_mode
from hspi_learn.networks.generator import CorrectionUNet, Generator

__all__ = ["CorrectionUNet", "Generator", "PatchDiscriminator", "evaluation_mode"]
