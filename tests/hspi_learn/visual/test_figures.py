"""Figures draw what they are given: one colour scale, axes in mm, labels, and PNG files that are whole."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from hspi_learn.visual import (
    ErrorCurve,
    LineLabel,
    Tradeoff,
    bias_variance_figure,
    data_uri,
    error_figure,
    method_colour,
    mice_figure,
    png_bytes,
    profile_figure,
    reconstruction_figure,
    recovery_figure,
    save_figure,
    spectrum_figure,
)

RNG = np.random.default_rng(0)
VOLUMES = {name: RNG.random((6, 7, 8)) * size for name, size in (("truth", 5.0), ("osem", 9.0), ("gan", 4.0))}


def test_volumes_share_the_truths_colour_scale() -> None:
    """Every image is shown from 0 to the truth's maximum, whatever its own."""
    figure = reconstruction_figure(VOLUMES, (1.0, 1.0, 2.0), "kBq/mL", body=np.zeros((6, 7, 8), bool))
    images = [image for axis in figure.axes for image in axis.images]
    assert len(images) == 9
    assert {image.get_clim() for image in images} == {(0.0, VOLUMES["truth"].max())}
    assert images[0].get_extent() == [-8, 8, -3, 3]


def test_profiles_are_the_lines_through_the_voxel() -> None:
    """The middle panel holds the values along y through (z, x), at centres in mm."""
    figure = profile_figure(VOLUMES, (1.0, 0.5, 1.0), "kBq/mL", (2, 3, 4))
    drawn = next(line for line in figure.axes[1].lines if line.get_color() == method_colour("gan"))
    assert np.allclose(drawn.get_ydata(), VOLUMES["gan"][2, :, 4])
    assert np.allclose(drawn.get_xdata(), (np.arange(7) - 3) * 0.5)


def test_crowded_line_labels_yield_to_the_stronger() -> None:
    """Of two lines 2 keV apart only the stronger is written; one outside the axis is not."""
    lines = [LineLabel(81.1, "weak", 1.0), LineLabel(83.8, "strong", 2.0), LineLabel(900.0, "far", 9.0)]
    edges = np.linspace(20, 600, 59)
    figure = spectrum_figure(edges, RNG.random(58), RNG.random(58), lines, (70, 100))
    assert [text.get_text() for text in figure.axes[0].texts] == ["strong"]


def test_every_comparison_becomes_a_png(tmp_path: Path) -> None:
    """PNG signature, a file without leftovers, and no figure held by pyplot; names we do not know too."""
    errors = {"gan": RNG.random(5), "osem": RNG.random(5), "my_method": RNG.random(5)}
    truth = RNG.random(12)
    figures = [
        error_figure(
            {"gan": [ErrorCurve(np.array([1e4, 1e5]), RNG.random((2, 5)), a) for a in (False, True)]},
            (70, 290),
        ),
        mice_figure(errors, "clean"),
        bias_variance_figure({"osem": Tradeoff(RNG.random(3), RNG.random(3), ["1", "2", "3"])}),
        recovery_figure(
            truth, {"gan": truth, "osem": truth / 2}, {"gan": 1, "osem": 0.5}, "kBq/mL", truth > 0.5
        ),
    ]
    assert figures[0].axes[0].get_xlabel() == "Counts, 70-290 keV (median over mice)"
    for number, figure in enumerate(figures):
        path = save_figure(figure, tmp_path / "figures" / f"{number}.png", 60)
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "figures").iterdir())) == len(figures)
    assert data_uri(png_bytes(figures[0], 40)).startswith("data:image/png;base64,")
    assert method_colour("my_method") == method_colour("my_method")


def test_style_does_not_leak() -> None:
    """Drawing leaves matplotlib's settings as they were."""
    before = dict(mpl.rcParams)
    mice_figure({"gan": RNG.random(3)})
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_flat_volumes_do_not_fail(value: float) -> None:
    """An empty or constant image is drawn like any other."""
    assert reconstruction_figure({"truth": np.full((4, 4, 4), value)}, (1, 1, 1), "Bq/mL").axes
