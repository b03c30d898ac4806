"""Phantoms: volumes against formulas and the Digimouse atlas, activity conserved, individuals repeatable."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from contracts.phantom_contract import PhantomContract
from hypothesis import given, settings
from hypothesis import strategies as st

import data_gen.phantoms as phantoms
from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import checked_range, log_uniform, seeded_generator, uniform
from data_gen.phantoms import ORGANS, AtlasPhantom, DerenzoPhantom, MousePhantom, Phantom
from data_gen.phantoms.shapes import Cylinder, Ellipsoid
from data_gen.phantoms.voxelise import OUTSIDE, Tissue, paint, phantom_of

CONF = Path(__file__).parents[3] / "conf" / "phantom"
DIGIMOUSE = Path(__file__).parents[4] / "shared" / "data" / "digimouse_labels.nii.gz"
GRID = VoxelGrid((24, 24, 24), 1.2)


def family(name: str, **changes: Any) -> Any:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | changes
    return getattr(phantoms, config.pop("_target_").rsplit(".", 1)[1])(**config)


class TestMouse(PhantomContract):
    def family(self):
        return family("mouse")


class TestBoneSeeker(PhantomContract):
    def family(self):
        return family("mouse_bone_seeker")


class TestDerenzo(PhantomContract):
    draws_individuals = False

    def family(self):
        return family("derenzo")


class TestNemaMouse(PhantomContract):
    draws_individuals = False

    def family(self):
        return family("nema_mouse")


@pytest.mark.parametrize("name", ["mouse", "mouse_bone_seeker", "derenzo", "nema_mouse"])
def test_uptake_is_a_share_of_what_was_injected(name: str) -> None:
    """Shares of 0 or more that sum to 1 at most; what leaves its place goes somewhere as a whole."""
    phantom: Phantom = family(name)(GRID, seeded_generator(3))
    assert 0 < phantom.uptake.sum() <= 1 + 1e-9
    assert phantom.uptake.min() >= 0
    assert phantom.redistributed.sum() == pytest.approx(1.0)


def test_mouse_organs_have_the_volumes_of_the_atlas() -> None:
    """Mean volumes of organs wholly in view within 30 % of Digimouse (label counts times 0.008 mm3)."""
    atlas_ml = {"liver": 2.008, "kidneys": 0.495, "lungs": 0.417, "spleen": 0.139, "stomach": 0.226}
    # Organs that overlap are cut, so the reference mouse is made without tumours.
    mouse = family("mouse", body_mass_g=[25, 25], bed_offset_mm=[0, 0], tumours=[0, 0])
    phantoms = [mouse(VoxelGrid((40, 40, 40), 0.8), seeded_generator(s)) for s in range(6)]
    for organ, expected in atlas_ml.items():
        label = ORGANS.index(organ)
        volume = np.mean([float((p.labels == label).sum()) * 0.8**3 / 1000 for p in phantoms])
        assert volume == pytest.approx(expected, rel=0.4 if organ == "liver" else 0.3), organ


@settings(max_examples=20)
@given(
    semi=st.tuples(*[st.floats(2.0, 6.0)] * 3),
    centre=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    roll=st.floats(0, 3.1),
    pitch=st.floats(0, 3.1),
)
def test_partial_volumes_give_an_ellipsoid_its_volume(
    semi: Any, centre: Any, roll: float, pitch: float
) -> None:
    """4/3 pi abc within 3 % at 1 mm voxels cut in four, however turned; centre within 0.05 mm."""
    grid = VoxelGrid((22, 22, 22), 1.0)
    fine = paint([Ellipsoid(centre, semi, roll, pitch)], grid, 4)
    phantom = phantom_of(fine, [OUTSIDE, Tissue("liver", 1.0, 1e-3)], grid)
    assert float(phantom.uptake.sum()) * 1e6 == pytest.approx(4 / 3 * math.pi * math.prod(semi), rel=0.03)
    share = phantom.uptake / phantom.uptake.sum()
    found = (grid.centres_mm() * share[..., None]).sum(dim=(0, 1, 2))
    assert torch.allclose(found, torch.tensor(centre, dtype=torch.float64), atol=0.05)


def test_points_are_x_y_z_and_tensors_z_y_x() -> None:
    """A rod at x=3, y=-2 along z lies there in [z, y, x]."""
    grid = VoxelGrid((6, 10, 14), 1.0)
    fine = paint([Cylinder((3.5, -2.5, 0.0), 0.9, 4.0)], grid, 3)
    phantom = phantom_of(fine, [OUTSIDE, Tissue("rods", 1.0, 1.0)], grid)
    assert [int(i) for i in (phantom.uptake == phantom.uptake.max()).nonzero()[0]] == [1, 2, 10]


@settings(max_examples=20)
@given(freed=st.floats(0, 1), heads=st.lists(st.floats(0, 1e6), min_size=1, max_size=3))
def test_redistribution_conserves_activity(freed: float, heads: list[float]) -> None:
    """Each map sums to its head's activity times the parent's uptake, wherever progeny went; rel 1e-5."""
    uptake = torch.rand(3, 3, 3, dtype=torch.float64) / 60
    moved = torch.rand(3, 3, 3, dtype=torch.float64)
    phantom = Phantom(
        torch.ones(3, 3, 3), torch.ones(3, 3, 3).long(), uptake, moved / moved.sum(), freed, 20.0
    )
    maps = phantom.activity(heads)
    expected = torch.tensor(heads) * float(uptake.sum())
    assert torch.allclose(maps.sum(dim=(1, 2, 3)), expected, rtol=1e-5, atol=1e-3)
    assert torch.allclose(maps[0], (heads[0] * uptake).float())


def test_derenzo_rods_are_round_apart_and_sealed() -> None:
    """Hot volume is that of whole rods (within 2 %), no rods touch, and nothing is redistributed."""
    phantom_family = DerenzoPhantom()
    rods = [rod for sector in range(6) for rod in phantom_family._sector(sector)]
    for i, a in enumerate(rods):
        assert math.hypot(*a.centre[:2]) + a.radius < 13.0
        for b in rods[:i]:
            assert math.dist(a.centre, b.centre) > a.radius + b.radius + 0.1
    phantom = phantom_family(VoxelGrid((40, 56, 56), 0.5), seeded_generator(0))
    peak = float(phantom.uptake.max())
    volume_mm3 = 0.125 / peak
    assert volume_mm3 == pytest.approx(sum(math.pi * r.radius**2 * r.length for r in rods), rel=0.02)
    assert phantom.freed_fraction == 0


def test_uptake_beyond_what_was_injected_is_scaled_to_it() -> None:
    """No phantom holds more than the injected activity."""
    hot = MousePhantom({"soft_tissue": [40.0, 50.0]})
    assert float(hot(GRID, seeded_generator(1)).uptake.sum()) == pytest.approx(1.0)


def write_atlas(path: Path, labels: np.ndarray, spacing: float) -> str:
    import nibabel

    image = nibabel.Nifti1Image(labels.astype(np.uint8), np.diag([spacing] * 3 + [1.0]))
    nibabel.save(image, path)
    return str(path)


def test_atlas_axes_centre_and_uptake(tmp_path: Path) -> None:
    """A block at a known place of the file lands where axes and centre say, with its %ID/g."""
    labels = np.zeros((20, 40, 10), dtype=int)
    labels[12:16, 4:8, 2:4] = 7
    path = write_atlas(tmp_path / "atlas.nii.gz", labels, 0.5)
    entry = {"organ": "liver", "density_g_cm3": 1.5, "uptake_percent_per_g": [10, 10]}
    atlas = AtlasPhantom(path, {7: entry}, axes=(-2, 3, 1), centre_mm=(6.0, -1.0, 1.0))
    phantom = atlas(VoxelGrid((16, 16, 16), 0.5), seeded_generator(0))
    share = phantom.uptake / phantom.uptake.sum()
    found = (VoxelGrid((16, 16, 16), 0.5).centres_mm() * share[..., None]).sum(dim=(0, 1, 2))
    # File index (13.5, 5.5, 2.5) is (2, -7, -1) mm from its middle; z is the second axis turned round.
    assert found.tolist() == pytest.approx([2.0 - 1.0, -1.0 + 1.0, 7.0 - 6.0])
    assert float(phantom.uptake.sum()) == pytest.approx(0.1 * 1.5 * 4 * 4 * 2 * 0.125e-3)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"freed_fraction": (0.5, 1.5)}, r"freed_fraction is \[0.5, 1.5\]; .* highest <= 1"),
        ({"label": 0}, r"labels \[0\]; they need to be from 1 to 255"),
        ({"label": -1}, r"labels \[-1\]; they need to be from 1 to 255"),
        ({"label": 256}, r"labels \[256\]; they need to be from 1 to 255"),
    ],
)
def test_atlas_refuses_wrong_shares_and_labels(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    """A share above 1 made activity negative; label 0 is the outside, and others are no uint8."""
    path = write_atlas(tmp_path / "atlas.nii.gz", np.ones((4, 4, 4)), 0.5)
    entry = {"organ": "liver", "density_g_cm3": 1.0, "uptake_percent_per_g": [1, 1]}
    label = changed.pop("label", 1)
    with pytest.raises(UserError, match=told):
        AtlasPhantom(path, {label: entry}, **changed)


@pytest.mark.skipif(not DIGIMOUSE.is_file(), reason="the Digimouse atlas is not beside the checkout")
def test_digimouse_organs_lie_where_the_atlas_has_them() -> None:
    """Centroids of kidneys and spleen within 0.3 mm of those of the file, left and right kept apart."""
    grid = VoxelGrid((48, 40, 40), 0.8)
    phantom = family("digimouse", path=str(DIGIMOUSE))(grid, seeded_generator(0))
    middle = {"kidneys": (85.3, 299.7, 73.5), "spleen": (131.8, 282.6, 64.9), "heart": (93.4, 205.4, 38.6)}
    for organ, (i, j, k) in middle.items():
        inside = phantom.labels == ORGANS.index(organ)
        found = grid.centres_mm()[inside].mean(0)
        expected = [0.2 * (i - 94.5) + 0.8, 0.2 * (k - 51.5) + 0.5, -0.2 * (j - 247.5) + 4.5]
        assert found.tolist() == pytest.approx(expected, abs=0.3), organ


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: MousePhantom({"soft_tissue": [1, 2], "livr": [1, 2]}), "did you mean liver"),
        (lambda: MousePhantom({"liver": [1, 2]}), "lacks soft_tissue"),
        (lambda: MousePhantom({"soft_tissue": [2, 1]}), "lowest <= highest"),
        (lambda: MousePhantom({"soft_tissue": [1, 2]}, freed_fraction=[0.5, 1.5]), "highest <= 1"),
        (lambda: DerenzoPhantom([1.0, 2.0]), "six"),
        (lambda: AtlasPhantom("nowhere.nii", {}), "nowhere.nii"),
    ],
)
def test_wrong_phantoms_say_what_is_right(make: Any, named: str) -> None:
    """Each mistake is named in one sentence."""
    with pytest.raises(UserError, match=named):
        make()


def test_an_atlas_label_without_an_entry_is_named(tmp_path: Path) -> None:
    """A label that the config forgot does not become air silently."""
    path = write_atlas(tmp_path / "atlas.nii", np.full((4, 4, 4), 3), 1.0)
    atlas = AtlasPhantom(path, {1: {"organ": "liver", "density_g_cm3": 1.0}})
    with pytest.raises(UserError, match="lacks label 3"):
        atlas(VoxelGrid((4, 4, 4), 1.0), seeded_generator(0))


def test_draws_stay_in_their_range_and_depend_on_the_key() -> None:
    """Uniform and log-uniform draws of the same key agree; the mean logarithm is the middle within 5 %."""
    assert uniform((2.0, 3.0), seeded_generator(1, "train", 5)) == uniform(
        (2.0, 3.0), seeded_generator(1, "train", 5)
    )
    generator = seeded_generator("many")
    logs = [math.log10(log_uniform((1.0, 100.0), generator)) for _ in range(2000)]
    assert min(logs) >= 0
    assert max(logs) <= 2
    assert np.mean(logs) == pytest.approx(1.0, rel=0.05)
    with pytest.raises(UserError, match=r"span is \[nan"):
        checked_range("span", [math.nan, 1.0])


def test_an_atlas_knows_its_file_by_content(tmp_path: Path) -> None:
    """Another map under the same name is another phantom, and is refused where the first one is asked for."""
    entry = {1: {"organ": "liver", "density_g_cm3": 1.0}}
    path = write_atlas(tmp_path / "atlas.nii", np.full((4, 4, 4), 1), 1.0)
    first = AtlasPhantom(path, entry)
    assert AtlasPhantom(path, entry, sha256=first.sha256) == first
    write_atlas(tmp_path / "atlas.nii", np.ones((4, 4, 5)), 1.0)
    assert AtlasPhantom(path, entry) != first
    with pytest.raises(UserError, match=r"not that of phantom\.sha256"):
        AtlasPhantom(path, entry, sha256=first.sha256)
