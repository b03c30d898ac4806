"""Evaluated half-lives and branches, from their table to the chains; the page that shows them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import radioactivedecay as rd
import xraylib
from icrp107_database import get_icrp107_spectrum

from data_gen.nuclides import decay_chain, photon_lines
from data_gen.nuclides.evaluations import evaluation, nuclear_data

ROOT = Path(__file__).parents[3]
DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0


@pytest.mark.parametrize(
    ("nuclide", "half_life_s"),
    [
        ("Ac-225", 9.9172 * DAY),
        ("Fr-221", 4.79 * MINUTE),
        ("Ra-223", 11.43 * DAY),
        ("Ra-224", 3.631 * DAY),
        ("Bi-213", 45.59 * MINUTE),
        ("Po-213", 3.70e-6),
        ("Tl-209", 2.161 * MINUTE),
        ("Pb-212", 10.64 * HOUR),
        ("At-211", 7.216 * HOUR),
        ("Bi-207", 32.9 * 365.242198 * DAY),
    ],
)
def test_half_lives_are_those_of_ddep(nuclide, half_life_s):
    """DDEP's recommended values, typed from its tables; ICRP-107 is up to 12 % off. 1e-6."""
    assert decay_chain(nuclide).half_life_s(nuclide) == pytest.approx(half_life_s, rel=1e-6)


def test_radium_224_as_measured():
    """Bergeron et al., Appl. Radiat. Isot. 170 (2021) 109572: 3.6313(14) d; ICRP-107 has 3.66 d."""
    assert decay_chain("Ra-224").half_life_s("Ra-224") / DAY == pytest.approx(3.6313, abs=0.0014)
    assert float(rd.Nuclide("Ra-224").half_life("d")) == pytest.approx(3.66, abs=0.001)


def test_branches_are_those_of_ddep():
    """Typed from DDEP's tables, 1e-6; what DDEP does not have keeps the fraction of ICRP-107."""
    chain = decay_chain("Pb-212")
    assert chain.branching("Bi-212", "Tl-208") == pytest.approx(0.3593, rel=1e-6)
    assert chain.branching("Bi-212", "Po-212") == pytest.approx(0.6407, rel=1e-6)
    assert decay_chain("At-211").branching("At-211", "Po-211") == pytest.approx(0.5822, rel=1e-6)
    terbium = decay_chain("Tb-149")
    assert evaluation("Tb-149") is None
    for parent, child, share in terbium.branchings:
        assert share == pytest.approx(rd.DEFAULTDATA.branching_fraction(parent, child), rel=1e-12)


def test_the_table_is_current():
    """ddep.json is what the script makes of roentgen's copy of the LARA tables, with their sources."""
    script = runpy.run_path(str(ROOT / "scripts" / "ddep_table.py"))
    written = (ROOT / "data_gen" / "nuclides" / "ddep.json").read_text(encoding="utf-8")
    assert written == script["table"](), "run scripts/ddep_table.py"
    known = evaluation("Ac-225")
    assert known is not None
    assert known.source == "LNHB; CNDC - 2023"
    assert evaluation("Th-227") is None


def test_the_page_is_current():
    """docs/nuclides.md is what the script writes now."""
    written = runpy.run_path(str(ROOT / "scripts" / "nuclide_page.py"))["page"]()
    assert (ROOT / "docs" / "nuclides.md").read_text(encoding="utf-8") == written, (
        "run scripts/nuclide_page.py"
    )


def test_k_xrays_of_th_227_are_what_its_conversion_electrons_leave():
    """K holes, counted by the conversion electrons of ICRP-107, times xraylib's fluorescence yield of radium:
    3 %. The lower set in circulation (K-alpha 2.39 and 1.47 in 100 decays) would be 44 % less."""
    holes = runpy.run_path(str(ROOT / "scripts" / "nuclide_page.py"))["k_electrons"]("Th-227", 104.32)
    k_lines = [line for line in photon_lines("Th-227", 80, 110) if line.k_group]
    expected = holes * xraylib.FluorYield(88, xraylib.K_SHELL)
    assert sum(line.photons_per_decay for line in k_lines) == pytest.approx(expected, rel=0.03)
    ka1 = sum(line.photons_per_decay for line in k_lines if line.k_group == "Ra Ka1")
    assert ka1 == pytest.approx(0.0427, rel=0.01)
    assert len(get_icrp107_spectrum("Th-227", "IE")["energies"]) > 1000


def test_nuclear_data_have_a_name():
    """It names the table by its content, and the release of ICRP-107's."""
    assert nuclear_data().startswith("DDEP ")
    assert "icrp107-database" in nuclear_data()
