"""The emission spectrum of a chain: no photon is lost between lines and pieces."""

from __future__ import annotations

import pytest
import torch

from data_gen import decay_chain
from data_gen.nuclides import bremsstrahlung, photon_lines
from data_gen.nuclides.spectrum import LineSpectrum


@pytest.mark.parametrize("nuclide", ["Ac-225", "Ra-223"])
def test_no_photon_is_left_out(nuclide):
    """Photons per decay of each member: all of its lines and its bremsstrahlung, however weak, 1e-9.

    Of Ac-225's own photons lines under 1e-4 a decay are 1.5 % or more.
    """
    chain = decay_chain(nuclide)
    spectrum = LineSpectrum.of(chain, 20.0, 2700.0)
    edges = torch.logspace(torch.tensor(20.0).log10(), torch.tensor(2700.0).log10(), 33, dtype=torch.float64)
    for index, member in enumerate(chain.members):
        lines = [line.photons_per_decay for line in photon_lines(member, 20.0, 2700.0)]
        found = float(spectrum.photons_per_decay[spectrum.member == index].sum())
        expected = sum(lines) + float(bremsstrahlung(member, edges).sum())
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
    own = [line.photons_per_decay for line in photon_lines("Ac-225", 20.0, 2700.0)]
    assert sum(share for share in own if share < 1e-4) > 0.01 * sum(own)


def test_weak_lines_stay_near_their_energy():
    """Ac-225's weak lines in pieces keep their mean energy within 1 %; strong lines stand alone."""
    chain = decay_chain("Ac-225")
    spectrum = LineSpectrum.of(chain, 20.0, 600.0)
    weak = [line for line in photon_lines("Ac-225") if line.photons_per_decay < 1e-4]
    mine = (spectrum.member == 0) & (spectrum.width_kev > 0)  # an alpha emitter: no bremsstrahlung
    photons, energy = spectrum.photons_per_decay[mine], spectrum.energy_kev[mine]
    expected = sum(line.energy_kev * line.photons_per_decay for line in weak)
    assert float(photons @ energy) == pytest.approx(expected, rel=0.01)
    alone = (spectrum.member == 0) & (spectrum.width_kev == 0)
    assert int(alone.sum()) == len(photon_lines("Ac-225")) - len(weak)
