"""Windows at photon lines: edges by hand, lines of real chains told apart, refusals."""

from dataclasses import replace
from itertools import pairwise

import pytest

from data_gen.camera import load_camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, VoxelGrid, bin_index
from data_gen.forward_model import ImagingSystem, energy_windows, line_windows
from data_gen.nuclides import decay_chain


def _system(camera: str = "demo", nuclide: str = "Ra-223", bins: int = 580) -> ImagingSystem:
    grid = VoxelGrid((4, 4, 4), 6.0)
    return ImagingSystem(load_camera(camera), decay_chain(nuclide), grid, EnergyBins(20.0, 600.0, bins))


def test_edges_by_hand():
    """Lines within an FWHM share a window of one FWHM to each side; weak ones get none."""
    energy, strength, fwhm = [100.0, 101.0, 200.0, 300.0], [1.0, 0.2, 0.5, 0.02], [2.0, 2.0, 4.0, 6.0]
    assert line_windows(energy, strength, fwhm, 20, 400) == (20, 98, 103, 196, 204, 400)
    # Three per cent of the strongest line is enough.
    assert line_windows(energy, [1.0, 0.2, 0.5, 0.03], fwhm, 20, 400)[-3:] == (294, 306, 400)


def test_windows_that_overlap_are_cut_halfway():
    """Lines 1.5 FWHM apart: an edge in the middle between them."""
    assert line_windows([100.0, 106.0], [1.0, 1.0], [4.0, 4.0], 20, 200) == (20, 96, 103, 110, 200)


def test_a_gap_narrower_than_two_fwhm_goes_to_its_neighbours():
    """A gap of 7 keV at an FWHM of 4 keV is no window, one of 8 keV is; at both ends as well."""
    fwhm = [4.0, 4.0]
    assert line_windows([100.0, 115.0], [1.0, 1.0], fwhm, 20, 200) == (20, 96, 107.5, 119, 200)
    assert line_windows([100.0, 116.0], [1.0, 1.0], fwhm, 20, 200) == (20, 96, 104, 112, 120, 200)
    assert line_windows([25.0, 190.0], [1.0, 1.0], fwhm, 20, 200) == (20, 29, 186, 200)


def test_lines_that_the_camera_resolves_are_in_windows_of_their_own():
    """Ra-223: K lines of radon and of thallium, gammas of parent and daughters (ICRP-107), each apart."""
    windows = energy_windows("lines", _system())
    lines = [72.9, 81.07, 83.79, 94.87, 144.24, 154.21, 269.5, 338.3, 351.06, 403.0]
    places = [int(bin_index(windows, windows.edges_kev.new_tensor([line]))) for line in lines]
    assert len(set(places)) == len(lines)
    assert windows.count == 19


def test_a_camera_that_resolves_less_gets_fewer_windows():
    """NaI of 10 % at 140 keV: 81 and 84 keV are one line, and there are half as many windows."""
    coarse, fine = (energy_windows("lines", _system(camera)) for camera in ("nai_pinhole", "demo"))
    assert coarse.count <= fine.count / 2
    energies = coarse.edges_kev.new_tensor([81.07, 83.79])
    assert len(set(bin_index(coarse, energies).tolist())) == 1


@pytest.mark.parametrize("nuclide", ["Ac-225", "Pb-212", "At-211"])
def test_edges_are_those_of_recorded_bins(nuclide):
    """The same edges each time, each an edge of the events' own bins, from end to end."""
    system = _system(nuclide=nuclide, bins=116)
    one, again = (energy_windows("lines", system).boundaries_kev for _ in range(2))
    assert one == again
    assert set(one) <= set(system.energy_bins.edges_kev.tolist())
    assert (one[0], one[-1]) == (20.0, 600.0)
    assert all(a < b for a, b in pairwise(one))


def test_edges_that_are_given_are_taken():
    assert energy_windows((20, 100, 600), _system()).boundaries_kev == (20.0, 100.0, 600.0)


def test_what_is_wrong_is_told():
    with pytest.raises(UserError, match="windows_kev is 'eight'; it needs rising edges in keV, or lines"):
        energy_windows("eight", _system())  # type: ignore[arg-type]
    blind = replace_bins(_system(nuclide="Pb-212"), EnergyBins(22.0, 23.0, 2))
    with pytest.raises(UserError, match="emit no photon line at 22-23 keV"):
        energy_windows("lines", blind)


def replace_bins(system: ImagingSystem, bins: EnergyBins) -> ImagingSystem:
    return replace(system, energy_bins=bins, groups=system.groups.members)
