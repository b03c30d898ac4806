"""Figures draw what they are given: one colour scale, axes in mm, labels, and PNG files that are whole."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

from hspi_learn.visual import (
    ErrorCurve,
    LineLabel,
    Tradeoff,
    bias_variance_figure,
    contour_figure,
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
    tumour_figure,
)

RNG = np.random.default_rng(0)
VOLUMES = {name: RNG.random((6, 7, 8)) * size for name, size in (("truth", 5.0), ("osem", 9.0), ("gan", 4.0))}


def test_volumes_share_the_truths_colour_scale() -> None:
    """Every image is shown from 0 to the truth's maximum, whatever its own."""
    figure = reconstruction_figure(VOLUMES, (1.0, 1.0, 2.0), "kBq/mL", body=np.zeros((6, 7, 8), bool))
    images = [image for axis in figure.axes[:9] for image in axis.images]
    assert len(images) == 9
    assert {image.get_clim() for image in images} == {(0.0, VOLUMES["truth"].max())}
    assert images[0].get_extent() == [-8, 8, -3, 3]


def test_the_outline_runs_along_the_edges_of_the_body() -> None:
    """A body of whole voxels, one voxel of 1 x 1 x 2 mm away from every face, is outlined at its edges."""
    body = np.zeros((6, 7, 8), bool)
    body[1:-1, 1:-1, 1:-1] = True
    figure = reconstruction_figure(VOLUMES, (1.0, 1.0, 2.0), "kBq/mL", body=body)
    axis: Any = figure.axes[0]
    left, right, low, high = axis.images[0].get_extent()
    (outline,) = (c for c in axis.collections if len(c.get_paths()[0].vertices))
    corners = outline.get_paths()[0].vertices
    height, width = axis.images[0].get_array().shape
    step_x, step_y = (right - left) / width, (high - low) / height
    assert np.allclose(corners.min(axis=0), (left + step_x, low + step_y))
    assert np.allclose(corners.max(axis=0), (right - step_x, high - step_y))


def test_contours_run_along_the_edges_of_voxels() -> None:
    """A tumour of 2 x 3 x 1 voxels of 1 x 1 x 2 mm, the second shifted by a voxel in x: three slices through
    the first in each column, on the same grey scale, with its outline at its edges in each."""
    image = RNG.random((6, 7, 8))
    first, nothing = np.zeros((6, 7, 8), bool), np.zeros((6, 7, 8), bool)
    first[1:3, 2:5, 4] = True
    second = np.roll(first, 1, axis=2)
    contours = {
        "truth": {"tumour": first, "liver": nothing},
        "osem": {"tumour": second, "liver": nothing},
    }
    figure = contour_figure(image, contours, (1.0, 1.0, 2.0), "Bq/mL", title="scan 3")
    axes: list[Any] = figure.axes[:6]
    assert {axis.images[0].get_clim() for axis in axes} == {(0.0, image.max())}
    np.testing.assert_array_equal(axes[0].images[0].get_array(), image[:, 3, :])
    np.testing.assert_array_equal(axes[2].images[0].get_array(), image[:, :, 4])
    np.testing.assert_array_equal(axes[4].images[0].get_array(), image[1])
    edges = {0: (0, -2, 2, 0), 1: (2, -2, 4, 0), 2: (-1.5, -2, 1.5, 0), 4: (0, -1.5, 2, 1.5)}
    edges[5] = (2, -1.5, 4, 1.5)  # left, low, right, high in mm from the middle of the grid
    for number, (left, low, right, high) in edges.items():
        (outline,) = (c for c in axes[number].collections if len(c.get_paths()[0].vertices))
        corners = outline.get_paths()[0].vertices
        np.testing.assert_allclose(corners.min(axis=0), (left, low), atol=0.13)  # half a piece of a voxel
        np.testing.assert_allclose(corners.max(axis=0), (right, high), atol=0.13)
    assert not axes[3].collections  # the shifted tumour is not in the slice x of the true one
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["tumour", "liver"]
    assert png_bytes(figure)


def test_contours_without_any_organ() -> None:
    """Slices run through the hottest voxel."""
    image = np.zeros((4, 5, 6))
    image[3, 1, 2] = 1.0
    figure = contour_figure(image, {"truth": {"tumour": image > 2}}, (1.0, 1.0, 1.0), "Bq/mL")
    axes: list[Any] = figure.axes[:3]
    assert [float(axis.images[0].get_array().max()) for axis in axes] == [1.0] * 3
    assert not any(axis.collections for axis in axes)


def test_errors_stand_below_the_slice_on_a_symmetric_scale() -> None:
    """Estimate minus truth of the slice through the hottest voxel; none below the truth; unit at the bar."""
    figure = reconstruction_figure(VOLUMES, (1.0, 1.0, 2.0), "kBq/mL")
    row = figure.axes[9:12]
    assert not row[0].images
    z = int(VOLUMES["truth"].max(axis=(1, 2)).argmax())
    errors = [VOLUMES[name][z] - VOLUMES["truth"][z] for name in ("osem", "gan")]
    top = max(np.abs(error).max() for error in errors)
    for axis, error in zip(row[1:], errors, strict=True):
        assert np.allclose(axis.images[0].get_array(), error)
        assert axis.images[0].get_clim() == (-top, top)
    assert [axis.get_ylabel() for axis in figure.axes[12:]] == [
        "Activity concentration (kBq/mL)",
        "Estimate - truth\n(kBq/mL)",
    ]
    assert len(reconstruction_figure({"truth": VOLUMES["truth"]}, (1, 1, 1), "kBq/mL").axes) == 4


def test_all_text_has_one_size() -> None:
    """Titles, labels, ticks, legends and notes of every figure are of 8 points once it is drawn."""
    truth, lines = RNG.random(12), [LineLabel(81.1, "a line", 1.0)]
    figures = [
        reconstruction_figure(VOLUMES, (1.0, 1.0, 2.0), "kBq/mL", title="a mouse"),
        profile_figure(VOLUMES, (1.0, 0.5, 1.0), "kBq/mL", (2, 3, 4)),
        spectrum_figure(
            np.linspace(20, 600, 59), RNG.random(58), RNG.random(58), lines, (70, 100), "a title"
        ),
        mice_figure({"gan": RNG.random(5)}, "clean"),
        bias_variance_figure({"osem": Tradeoff(RNG.random(3), RNG.random(3), ["1", "2", "3"])}),
        error_figure({"gan": [ErrorCurve(np.array([1e4, 1e5]), RNG.random((2, 5)))]}, (70, 290)),
        recovery_figure(truth, {"gan": truth}, {"gan": 1}, "kBq/mL", truth > 0.5, truth > 0.7),
        tumour_figure(truth, {"Ra-223": {"gan": truth}}, {"Ra-223": truth > 0.5}),
    ]
    for figure in figures:
        png_bytes(figure, 40)
        written = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert {text.get_fontsize() for text in written} == {8.0}


def test_counts_are_written_whole() -> None:
    """The levels themselves, in three digits: 8,210 and 27,400, not 27k or 2.74e4."""
    levels = np.array([27_364.5, 8_209.0])
    figure = error_figure({"gan": [ErrorCurve(levels, RNG.random((2, 5)))]}, (70, 290))
    png_bytes(figure, 40)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["8,210", "27,400"]


def test_what_a_scan_cannot_tell_is_drawn_apart() -> None:
    """Grey points and a legend in the recovery, open ones over the volume."""
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    lost = np.array([True, False, True, False])
    figure = recovery_figure(truth, {"gan": truth}, {"gan": 1.0}, "kBq/mL", truth > 2, lost)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["organ", "tumour", "organ, not identifiable", "tumour, not identifiable"]
    assert "not" not in str(
        recovery_figure(truth, {"gan": truth}, {"gan": 1.0}, "u", truth > 2).legends[0].get_texts()
    )
    figure = tumour_figure(truth, {"Ra-223": {"gan": truth - 2}}, {"Ra-223": lost})
    filled, hollow = figure.axes[0].collections
    assert filled.get_offsets()[:, 1].tolist() == [0.0, 150.0]  # 200 % is drawn at 150
    assert hollow.get_offsets()[:, 1].tolist() == [-100.0, 100.0]
    assert len(hollow.get_facecolor()) == 0
    assert figure.legends[0].get_texts()[-1].get_text() == "not identifiable"


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
            {
                "gan": [
                    ErrorCurve(np.array([1e4, 1e5]), RNG.random((2, 5)), a)
                    for a in ("", "attacked", "random")
                ]
            },
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
