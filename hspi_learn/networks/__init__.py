"""Networks: generators, segmenters and their adversaries, and the mode that networks are evaluated in."""

from hspi_learn.networks.discriminator import MultiScaleDiscriminator, PatchDiscriminator
from hspi_learn.networks.evaluation_mode import evaluation_mode
from hspi_learn.networks.generator import CorrectionUNet, Generator
from hspi_learn.networks.multi_scale_critic import MultiScaleCritic
from hspi_learn.networks.projection_unet import ProjectionDenoiser, ProjectionUNet
from hspi_learn.networks.segmentation_unet import SegmentationUNet, Segmenter
from hspi_learn.networks.texture_features import TextureFeatures, trained_features

__all__ = [
    "CorrectionUNet",
    "Generator",
    "MultiScaleCritic",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "ProjectionDenoiser",
    "ProjectionUNet",
    "SegmentationUNet",
    "Segmenter",
    "TextureFeatures",
    "evaluation_mode",
    "trained_features",
]
