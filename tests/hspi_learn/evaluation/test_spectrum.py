"""Labels of the lines in a spectrum against DDEP's intensities."""

from __future__ import annotations

import pytest

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation.spectrum import line_labels


def test_labels_name_nuclide_and_energy(model32: HyperspectralForwardModel) -> None:
    """Fr-221 at 218 keV gives 0.114 photons a decay and Bi-213 at 440 keV 0.259 (DDEP), 3 %; K X-rays, which
    several elements share, have no nuclide; what the model does not transport (Tl-209) has no label.
    """
    labels = line_labels(model32)
    found = {label.text: label for label in labels}
    assert found["Fr-221 218"].strength == pytest.approx(0.114, rel=0.03)
    assert found["Fr-221 218"].energy_kev == pytest.approx(218.0, abs=0.5)
    assert found["Bi-213 440"].strength == pytest.approx(0.259, rel=0.03)
    x_rays = [label for label in labels if label.text.endswith(" K X-ray")]
    assert x_rays
    assert {label.text for label in x_rays} == {f"{label.energy_kev:.0f} K X-ray" for label in x_rays}
    assert {label.text.split()[0] for label in labels if label not in x_rays} <= {
        "Ac-225",
        "Fr-221",
        "Bi-213",
    }
