"""Interpolation of lines between the reference energies."""

from __future__ import annotations

import pytest
import torch

from data_gen.camera import Camera, load_camera
from data_gen.materials import interaction_attenuation_per_mm, interaction_probability
from data_gen.nuclides import decay_chain
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.projector.energy_interpolation import interpolation_weights, reference_energies

CAMERA = load_camera("demo")
REFERENCES = torch.tensor([50.0, 80.0, 110.0, 150.0, 200.0, 270.0, 360.0, 450.0], dtype=torch.float64)
LINES = torch.tensor([60.0, 68.0, 75.0, 83.0, 122.0, 144.0, 230.0, 338.0, 405.0], dtype=torch.float64)


@pytest.mark.parametrize("path", ["aperture", "leakage", "emission"])
def test_a_reference_is_its_own_line(path):
    """A line at a reference energy has weight 1 there and none elsewhere (1e-9)."""
    weights = interpolation_weights(CAMERA, REFERENCES, REFERENCES, path)
    torch.testing.assert_close(weights, torch.eye(len(REFERENCES), dtype=torch.float64), rtol=0, atol=1e-9)


def test_nothing_is_interpolated_across_the_edge():
    """Lines below the K edge of tungsten (69.5 keV) have weights below it alone; none is negative."""
    weights = interpolation_weights(CAMERA, LINES, REFERENCES, "aperture")
    assert bool((weights >= 0).all())
    below = LINES < 69.5
    assert float(weights[below][:, REFERENCES > 69.5].abs().max()) == 0
    assert float(weights[~below][:, REFERENCES < 69.5].abs().max()) == 0


OPEN = Camera.from_dict(CAMERA.to_dict() | {"collimator": CAMERA.to_dict()["collimator"] | {"septa": False}})
"""The same without septa."""


def _around(energy: torch.Tensor, to_mm: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Detected through aperture and slope up to so many mm of metal: sharp image and leakage, mm2 [line].

    The double cone of the demo's loft holes, integrated over its area in fine steps; the sharp image ends
    where photons fall by e five times, or is what a thin plate would stop if it were whole.
    Cross sections are xraylib's.
    """
    radius, slope = 0.175, float(CAMERA.aperture_opening.max()) / 2
    path = (torch.arange(80_000, dtype=torch.float64) + 0.5) * (CAMERA.plate_mm / 80_000)
    area = 2 * torch.pi * (radius + slope * path) * slope * (path[1] - path[0]) * (path < to_mm)
    path = torch.cat((torch.zeros(1, dtype=torch.float64), path))
    area = torch.cat((torch.tensor([torch.pi * radius**2], dtype=torch.float64), area))
    mu = interaction_attenuation_per_mm("tungsten", energy)[:, None]
    whole = torch.where(mu * 8.0 < 5, torch.exp(-mu * 8.0), 0.0)
    passed = torch.exp(-mu * path)
    sharp = (passed - whole) * (mu * path < 5)
    stopped = interaction_probability("CdTe", energy, 2.0)
    return stopped * (area * sharp).sum(1), stopped * (area * (passed - sharp)).sum(1)


@pytest.mark.parametrize("camera", [CAMERA, OPEN], ids=["septa", "open"])
def test_sharp_images_of_lines(camera):
    """All that comes through aperture and sharp edge, from references 40 % apart: a line's own within 1 %."""
    lines = LINES[LINES > 80]
    interpolated = interpolation_weights(camera, lines, REFERENCES, "aperture") @ _around(REFERENCES)[0]
    torch.testing.assert_close(interpolated, _around(lines)[0], rtol=0.01, atol=0)


@pytest.mark.parametrize("camera", [CAMERA, OPEN], ids=["septa", "open"])
def test_sharp_images_keep_their_width(camera):
    """Through the open waist and half a millimetre of slope comes what a line has there itself, within 3 % of
    its whole image (cross sections are xraylib's)."""
    lines = LINES[LINES > 80]
    interpolated = interpolation_weights(camera, lines, REFERENCES, "aperture") @ _around(REFERENCES, 0.5)[0]
    assert float(((interpolated - _around(lines, 0.5)[0]).abs() / _around(lines)[0]).max()) < 0.03


@pytest.mark.parametrize("camera", [CAMERA, OPEN], ids=["septa", "open"])
def test_leakage_of_lines(camera):
    """All that comes through slope and plate beside the sharp image: a line's own within 2 %, from references
    20 % apart. The flat plate of the demo is 29 mm2 about each aperture, 8 to 9 mm deep."""
    lines = LINES[LINES > 300]

    def leaked(energy: torch.Tensor) -> torch.Tensor:
        depth = torch.linspace(8.0, 9.2, 13, dtype=torch.float64)
        mu = interaction_attenuation_per_mm("tungsten", energy)
        flat = torch.exp(-mu[:, None] * depth).mean(1) * interaction_probability("CdTe", energy, 2.0)
        return _around(energy)[1] + 29.0 * flat

    interpolated = interpolation_weights(camera, lines, REFERENCES, "leakage") @ leaked(REFERENCES)
    torch.testing.assert_close(interpolated, leaked(lines), rtol=0.02, atol=0)


def test_opaque_metal_gives_no_nan():
    """Lines near 20 keV do not get through anything; their weights are finite all the same."""
    low, near = torch.tensor([[20.5, 27.0], [25.0, 60.0]], dtype=torch.float64)
    for path in ("aperture", "leakage"):
        assert bool(torch.isfinite(interpolation_weights(CAMERA, low, near, path)).all())


def test_photons_are_shared_out():
    """Weights of photons sum to 1, and keep the mean log energy between references (definition)."""
    weights = interpolation_weights(CAMERA, LINES, REFERENCES, "emission")
    torch.testing.assert_close(weights.sum(1), torch.ones_like(LINES))
    inside = LINES > 80
    torch.testing.assert_close((weights @ REFERENCES.log())[inside], LINES.log()[inside])


def test_references_span_the_strong_lines():
    """Strong lines of Ra-223 have a reference within 15 % of energy or one on each side; one lies below the
    K edge of tungsten."""
    lines = LineSpectrum.of(decay_chain("Ra-223"), 20.0, 600.0)
    references = reference_energies(CAMERA, lines, 8)
    assert len(references) == 8
    assert float(references[0]) < 69.5
    for strong in (83.8, 94.9, 144.3, 154.2, 269.5, 271.2, 351.0, 404.8):
        nearest = float((strong / references).log().abs().min())
        assert nearest < 0.15 or float(references[0]) < strong < float(references[-1])
    assert float(references[-1]) > 400


def test_soft_lines_keep_their_counts():
    """A line of 27 keV with weight at 63 keV alone has the counts of its own cone (2 %)."""
    line, reference = (torch.tensor([e], dtype=torch.float64) for e in (27.0, 63.0))
    interpolated = interpolation_weights(CAMERA, line, reference, "aperture") @ _around(reference)[0]
    torch.testing.assert_close(interpolated, _around(line)[0], rtol=0.02, atol=0)
