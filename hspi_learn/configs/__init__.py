"""From a composed config to objects: an allowlist of targets, schemas from signatures, and one builder."""

from hspi_learn.configs.build import build
from hspi_learn.configs.check import check_config, check_hydra
from hspi_learn.configs.schema import Node

__all__ = ["Node", "build", "check_config", "check_hydra"]
