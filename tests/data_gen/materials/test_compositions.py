"""What the keys of caches know of a material: a corrected density or formula finds nothing that is stale."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.detector import CdTeResponse
from data_gen.detector.cross_sections import crystal_tables
from data_gen.forward_model import spectral_response
from data_gen.forward_model.spectral_response import SpectralResponse
from data_gen.forward_model.system import ImagingSystem
from data_gen.materials import MATERIALS, TISSUES, interaction_attenuation_per_mm
from data_gen.montecarlo.medium import medium
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.phantoms import MousePhantom
from data_gen.projector.ray_casting import RayCaster
from data_gen.projector.sampling import RaySampling
from data_gen.scatter.collimator import response_matrix
from data_gen.scatter.collimator.cross_sections import Metal
from data_gen.scatter.collimator.sampling import CollimatorSampling
from data_gen.simulation import DatasetPlan
from data_gen.validation import truth
from data_gen.validation.objects import scene
from hspi_learn.tasks.physics_input import PhysicsInputs


class AskedError(Exception):
    """Thrown instead of computing: the key that a cache was asked for."""


def asked(folder: Path, key: str, make: Callable[[], Any]) -> Any:
    raise AskedError(key)


def response_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the detector response to lines."""
    monkeypatch.setattr(spectral_response, "cached", asked)
    lines = LineSpectrum.of(system.chain, 20.0, 600.0, continuum=False)
    with pytest.raises(AskedError) as told:
        SpectralResponse(system.camera, lines, system.groups, system.energy_bins.edges_kev, 600.0)
    return str(told.value)


def collimator_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of scatter in the collimator."""
    monkeypatch.setattr(response_matrix, "cached", asked)
    edges = torch.tensor([[50.0, 60.0], [60.0, 80.0]], dtype=torch.float64)
    with pytest.raises(AskedError) as told:
        response_matrix.camera_matrix(system.camera, system.grid, 300.0, edges, CollimatorSampling())
    return str(told.value)


def monte_carlo_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a simulated truth."""
    monkeypatch.setattr(truth, "cached", asked)
    lines = truth.Lines(torch.tensor([100.0]), torch.tensor([1.0]))
    with pytest.raises(AskedError) as told:
        truth.recorded(system.camera, scene("cylinder", 4.0), lines, system.energy_bins, 100, 0)
    return str(told.value)


def projector_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a system matrix: plain data that its key holds."""
    return str(RayCaster(system.camera, 300.0, RaySampling()).numbers)


def plan_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a data set."""
    phantom = MousePhantom({"soft_tissue": [0.5, 2.0]})
    ranges = ([200, 500], [1e3, 1e7], [60, 3600], [3600, 7200])
    parts = (system.camera, system.chain, phantom, system.grid, system.energy_bins)
    return DatasetPlan(*parts, {"train": 1}, *ranges).sha256


def inputs_key(system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the physics images beside a data set."""
    model: Any = SimpleNamespace(energy_bins=system.energy_bins)
    method: Any = SimpleNamespace(settings={"method": "none"})
    inputs = PhysicsInputs(system, model, method)
    inputs.keep_beside(Path("data"))
    assert inputs.files is not None
    return inputs.files.folders[0].name


CAMERA = ("tungsten", "CdTe")
KEYS = {
    response_key: ("CdTe",),
    collimator_key: CAMERA,
    monte_carlo_key: (*CAMERA, *TISSUES),
    projector_key: CAMERA,
    plan_key: (*CAMERA, *TISSUES),
    inputs_key: (*CAMERA, *TISSUES),
}
"""Which materials each of them depends on."""


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.__name__)
def test_a_corrected_material_has_other_keys(
    key: Callable[..., str], tiny_system: ImagingSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each material that counts: 1 % more density, other mass fractions. Of another one: the same key."""
    before = key(tiny_system, monkeypatch)
    assert key(tiny_system, monkeypatch) == before
    for name in KEYS[key]:
        known = MATERIALS[name]
        denser = dataclasses.replace(known, density_g_cm3=1.01 * known.density_g_cm3)
        parts = known.mass_fractions
        other = dataclasses.replace(known, mass_fractions=((82, 0.01), *((z, 0.99 * w) for z, w in parts)))
        for changed in (denser, other):
            with monkeypatch.context() as patch:
                patch.setitem(MATERIALS, name, changed)
                assert key(tiny_system, patch) != before, changed
    with monkeypatch.context() as patch:
        gold = MATERIALS["gold"]
        patch.setitem(MATERIALS, "gold", dataclasses.replace(gold, density_g_cm3=1.0))
        assert key(tiny_system, patch) == before


def test_tables_of_a_process_follow_a_material_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that a process keeps by name: twice the density, twice the attenuation; 1e-12."""

    def attenuations() -> list[torch.Tensor]:
        energy = torch.tensor([200.0], dtype=torch.float64)
        return [
            crystal_tables("CdTe").stopping_per_mm(energy),
            Metal.of("CdTe").per_mm(energy),
            medium("CdTe").per_mm(energy),
            interaction_attenuation_per_mm("CdTe", energy),
        ]

    before = attenuations()
    known = MATERIALS["CdTe"]
    heavy = dataclasses.replace(known, density_g_cm3=2 * known.density_g_cm3)
    monkeypatch.setitem(MATERIALS, "CdTe", heavy)
    for one, other in zip(before, attenuations(), strict=True):
        torch.testing.assert_close(other, 2 * one, rtol=1e-12, atol=0)


def test_a_kept_response_of_another_density_is_not_read(
    tiny_system: ImagingSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the cache filled by the old density the new one is computed; the old one is found again."""
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path))
    lines = LineSpectrum.of(tiny_system.chain, 20.0, 600.0, continuum=False)
    edges = tiny_system.energy_bins.edges_kev
    computed: list[float] = []

    def quick(self: CdTeResponse, energy_kev: torch.Tensor, edges_kev: torch.Tensor) -> torch.Tensor:
        computed.append(MATERIALS[self.material].density_g_cm3)
        return torch.full((9, len(energy_kev), len(edges_kev) - 1), computed[-1])

    monkeypatch.setattr(CdTeResponse, "kernel", quick)

    def density() -> float:
        response = SpectralResponse(tiny_system.camera, lines, tiny_system.groups, edges, 600.0)
        return round(float(response.kernel.mean()), 4)

    known = MATERIALS["CdTe"]
    heavy = dataclasses.replace(known, density_g_cm3=2 * known.density_g_cm3)
    assert density() == known.density_g_cm3
    with monkeypatch.context() as patch:
        patch.setitem(MATERIALS, "CdTe", heavy)
        assert density() == 2 * known.density_g_cm3
    assert density() == known.density_g_cm3
    assert computed == [known.density_g_cm3, 2 * known.density_g_cm3]
