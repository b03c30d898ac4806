"""Networks: generators and discriminators of activity maps."""

from hspi_learn.networks.discriminator import PatchDiscriminator
from hspi_learn.networks.generator import CorrectionUNet, Generator

__all__ = ["CorrectionUNet", "Generator", "PatchDiscriminator"]
