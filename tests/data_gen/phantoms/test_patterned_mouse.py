"""Mice whose tumours have patterns of uptake: parts, volumes and distances as they were asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contracts.phantom_contract import PhantomContract
from scipy import ndimage

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.phantoms import (
    ORGANS,
    PATTERNS,
    MousePhantom,
    PatternedMouse,
    Phantom,
    PhantomFamily,
    RegionalFamily,
)
from data_gen.simulation.plan import described, phantom_of_plan

GRID = VoxelGrid((20, 20, 20), 1.4)
TUMOUR, NECROSIS = ORGANS.index("tumour"), ORGANS.index("necrosis")


def _mouse(**changes: Any) -> PatternedMouse:
    uptake = {"soft_tissue": (0.5, 1.5), "liver": (4.0, 12.0), "tumour": (20.0, 40.0)}
    settings = {"tumours": (1, 1), "tumour_diameter_mm": (8.0, 10.0), **changes}
    return PatternedMouse(uptake, **settings)


def _drawn(mouse: PatternedMouse, seed: int) -> Phantom:
    return mouse(GRID, seeded_generator("patterned", seed))


class TestPatternedMouse(PhantomContract):
    def family(self) -> PhantomFamily:
        return _mouse()


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        ("uniform", 0.0, 0.0),
        ("necrotic_core", 0.55**3, 0.70**3),  # of a ball of that relative size
        ("half", 0.39, 0.61),  # beyond a plane 0.15 radii off the middle: (2 - 3 t + t^3) / 4
        ("two_lobes", 0.43, 0.63),  # within 0.30 and 0.45 radii: (3 h - h^3) / 2
    ],
)
def test_necrosis_has_its_share_of_the_tumour(pattern: str, least: float, most: float) -> None:
    """Volume of the necrosis over that of the whole, closed forms of a ball, within 0.03 for fine voxels."""
    for seed in range(5):
        one = _mouse(patterns=(pattern,)).anatomy(GRID, 1, seeded_generator("volume", seed))
        core, whole = (
            sum(float(ml) for ml, region in zip(one.total_ml, one.regions, strict=True) if chosen(region))
            for chosen in (lambda r: r.site_core, lambda r: r.site > 0)
        )
        assert least - 0.03 * (least > 0) <= core / whole <= most + 0.03 * (most > 0)


def test_necrosis_takes_up_next_to_nothing() -> None:
    """At most a tenth of its tumour's concentration, in voxels that it fills; the rest is even."""
    for seed in range(4):
        anatomy = _mouse(patterns=("half",)).anatomy(GRID, 1, seeded_generator("uptake", seed))
        one = _mouse(patterns=("half",)).individual(anatomy, seeded_generator("individual", seed))
        by_organ = {
            organ: {
                round(float(u), 12) for u, o in zip(one.uptake_per_ml, one.organ, strict=True) if o == organ
            }
            for organ in (TUMOUR, NECROSIS)
        }
        (vital,), (dead,) = by_organ[TUMOUR], by_organ[NECROSIS]
        assert 0 <= dead <= 0.1 * vital


def test_tumours_keep_apart() -> None:
    """Of three tumours the labels always show three that do not touch, also at corners."""
    mouse = _mouse(tumours=(3, 3), tumour_diameter_mm=(4.0, 6.0), patterns=("uniform",), supersampling=2)
    for seed in range(30):
        labels = _drawn(mouse, seed).labels
        assert ndimage.label((labels == TUMOUR).numpy(), torch.ones(3, 3, 3).numpy())[1] == 3


def test_every_pattern_is_as_frequent() -> None:
    """By the shape of the solids alone (chi-square of 400 tumours, 99.9 %)."""
    mouse, found = _mouse(), dict.fromkeys(PATTERNS, 0)
    generator = seeded_generator("patterns")
    for _ in range(400):
        _, plan = mouse._body(generator)
        _, *core = mouse._tumour(plan, 0, generator)
        inside = next(iter(core), None)
        shape = None if inside is None else inside.shape
        spans = getattr(shape, "span_mm", None)
        name = "uniform" if shape is None else "necrotic_core"
        if spans is not None:
            name = "half" if spans[1] == float("inf") else "two_lobes"
        found[name] += 1
    assert sum((n - 100) ** 2 / 100 for n in found.values()) < 16.3


def test_it_can_be_taken_apart_and_told_from_a_plan() -> None:
    """An individual's voxels follow from its regions; a plan holds all that makes the family."""
    mouse = _mouse(patterns=("necrotic_core",))
    assert isinstance(mouse, RegionalFamily)
    anatomy = mouse.anatomy(GRID, 2, seeded_generator("two"))
    labels = mouse.individual(anatomy, seeded_generator("one")).labels
    assert {TUMOUR, NECROSIS} <= set(labels.unique().tolist())
    assert phantom_of_plan(described(mouse)) == mouse


def test_a_plan_without_patterns_says_nothing_of_them() -> None:
    """Hashes of data sets of mice stay what they were: no new setting stands in their plan."""
    settings = described(MousePhantom({"soft_tissue": (0.5, 1.5)}))
    assert set(settings) == {
        "_target_",
        "uptake_percent_per_g",
        "freed_per_g",
        "freed_fraction",
        "tumours",
        "tumour_diameter_mm",
        "body_mass_g",
        "bed_offset_mm",
        "supersampling",
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patterns": ("striped",)}, "phantom.patterns is .*striped.*uniform, necrotic_core"),
        ({"patterns": ()}, "phantom.patterns"),
        ({"patterns": "half"}, "phantom.patterns"),
        ({"necrosis_uptake": (0.0, 2.0)}, "phantom.necrosis_uptake"),
        ({"gap_mm": -1.0}, "phantom.gap_mm is -1"),
    ],
)
def test_wrong_settings_say_what_is_right(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        _mouse(**changes)


def test_more_large_tumours_than_fit_are_refused() -> None:
    with pytest.raises(UserError, match="do not fit in a mouse"):
        _mouse(tumours=(9, 9))(GRID, seeded_generator("full"))
