"""What lines borrow from the reference energies."""

from __future__ import annotations

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.materials import interaction_attenuation_per_mm, interaction_probability
from data_gen.mixing import leak_shares, photon_shares, sharp_shares
from data_gen.nuclides import decay_chain
from data_gen.references import reference_energies
from data_gen.spectrum import LineSpectrum

CAMERA = load_camera("demo")
REFERENCES = torch.tensor([50.0, 80.0, 110.0, 150.0, 200.0, 270.0, 360.0, 450.0], dtype=torch.float64)
LINES = torch.tensor([60.0, 68.0, 75.0, 83.0, 122.0, 144.0, 230.0, 338.0, 405.0], dtype=torch.float64)


@pytest.mark.parametrize("mixing", [sharp_shares, leak_shares, photon_shares])
def test_a_reference_is_its_own_line(mixing):
    """A line at a reference energy takes that reference and nothing else (1e-9)."""
    shares = mixing(CAMERA, REFERENCES, REFERENCES)
    torch.testing.assert_close(shares, torch.eye(len(REFERENCES), dtype=torch.float64), rtol=0, atol=1e-9)


def test_nothing_is_borrowed_across_the_edge():
    """Lines below the K edge of tungsten (69.5 keV) borrow below it, lines above above; none is negative."""
    shares = sharp_shares(CAMERA, LINES, REFERENCES)
    assert bool((shares >= 0).all())
    below = LINES < 69.5
    assert float(shares[below][:, REFERENCES > 69.5].abs().max()) == 0
    assert float(shares[~below][:, REFERENCES < 69.5].abs().max()) == 0


def _seen(energy: torch.Tensor, paths_mm: tuple[float, ...]) -> torch.Tensor:
    """Transmission times detection [line, path], from xraylib."""
    mu = interaction_attenuation_per_mm("tungsten", energy)
    passed = torch.exp(-mu[:, None] * torch.tensor(paths_mm, dtype=torch.float64))
    return interaction_probability("CdTe", energy, 2.0)[:, None] * passed


def test_sharp_images_of_lines():
    """What is borrowed from references 40 % apart: within 1 % of the line's own through the open waist, and
    within 5 % of the waist's through its edge."""
    lines = LINES[LINES > 80]
    paths = (0.0, 0.02, 0.05, 0.2, 1.0)
    borrowed, own = sharp_shares(CAMERA, lines, REFERENCES) @ _seen(REFERENCES, paths), _seen(lines, paths)
    wrong = (borrowed - own).abs() / own[:, :1]
    assert float(wrong[:, 0].max()) < 0.01
    assert float(wrong.max()) < 0.05


def test_leakage_of_lines():
    """Through the plate, what lines borrow from references 20 % apart is their own within 10 %."""
    lines = LINES[LINES > 300]
    paths = (2.0, 5.0, 8.0)
    borrowed, own = leak_shares(CAMERA, lines, REFERENCES) @ _seen(REFERENCES, paths), _seen(lines, paths)
    assert float(((borrowed - own).abs() / own).max()) < 0.1


def test_opaque_metal_gives_no_nan():
    """Lines near 20 keV do not get through anything; their shares are finite all the same."""
    low, near = torch.tensor([[20.5, 27.0], [25.0, 60.0]], dtype=torch.float64)
    for mixing in (sharp_shares, leak_shares):
        assert bool(torch.isfinite(mixing(CAMERA, low, near)).all())


def test_photons_are_shared_out():
    """Shares of photons sum to 1, and keep the mean log energy between references (definition)."""
    shares = photon_shares(CAMERA, LINES, REFERENCES)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(LINES))
    inside = LINES > 80
    torch.testing.assert_close((shares @ REFERENCES.log())[inside], LINES.log()[inside])


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


def test_soft_lines_keep_their_open_waist():
    """A line of 27 keV that borrows from 63 keV alone is seen through the open waist within 15 %."""
    line, reference = (torch.tensor([e], dtype=torch.float64) for e in (27.0, 63.0))
    borrowed = sharp_shares(CAMERA, line, reference) @ _seen(reference, (0.0,))
    torch.testing.assert_close(borrowed, _seen(line, (0.0,)), rtol=0.15, atol=0)
