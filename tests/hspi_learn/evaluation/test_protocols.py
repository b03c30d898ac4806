"""What a protocol of reconstructions refuses before it starts, and what it compares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MapRdp, MeanImage, Osem
from hspi_learn.evaluation import Conditions, ReconstructionProtocol, Tuned


@pytest.fixture
def settings(model32: HyperspectralForwardModel) -> dict[str, Any]:
    """All that a protocol is told, with OSEM and MAP, of no trained run."""
    system = SimpleNamespace(forward_model=lambda windows: model32)
    return {
        "runs": {},
        "data": SimpleNamespace(system=system, windows=None, batch_size=1),
        "conditions": Conditions(),
        "classical": {"osem": Osem, "map_rdp": MapRdp},
        "tuning": {"map_rdp": {"penalty": (0.1, 1.0)}},
    }


def test_methods_are_taken_at_what_was_chosen(settings: dict[str, Any]) -> None:
    """Each classical method at its own settings, told in words."""
    protocol = ReconstructionProtocol(**settings)
    tuned = {
        "osem": Tuned({"iterations": 3, "postfilter_fwhm_mm": 2.5}, "", False),
        "map_rdp": Tuned({"penalty": 0.1, "iterations": 20}, "", False),
    }
    methods: dict[str, Any] = protocol.methods(tuned)
    assert list(methods) == ["osem", "map_rdp"]
    assert methods["osem"].told == "3 iterations of 8 subsets, Gaussian filter of 2.5 mm FWHM"
    assert methods["map_rdp"].told == "penalty 0.1, 20 iterations of 6 subsets, Gaussian filter of 0 mm FWHM"


def test_a_method_that_cannot_be_tuned_is_named(
    settings: dict[str, Any], model32: HyperspectralForwardModel
) -> None:
    """One that updates no image by subsets of pixels."""
    image = torch.ones(len(model32.groups.names), *model32.grid.shape)
    settings["classical"] = {"mean": lambda model: MeanImage(model, image)}
    settings["tuning"] = {}
    protocol = ReconstructionProtocol(**settings)
    with pytest.raises(UserError, match=r"classical\.mean is a MeanImage; it needs to be an OrderedSubsets"):
        _ = protocol.untuned


def test_names_are_checked_first(settings: dict[str, Any]) -> None:
    """Settings of a method that is not compared."""
    settings["tuning"] = {"map": {"penalty": (0.1,)}}
    with pytest.raises(UserError, match=r"tuning\.map is none of the classical methods"):
        ReconstructionProtocol(**settings)
