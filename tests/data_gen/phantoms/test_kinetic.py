"""Phantoms whose activity follows compartments, against Bateman's equations and exponentials by hand."""

import math
from dataclasses import replace

import pytest
import torch
from contracts.phantom_contract import PhantomContract

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.kinetics import CompartmentModel, RegionKinetics, kinetics_for, kinetics_names, load_kinetics
from data_gen.nuclides import decay_chain, each_member, mean_activity, tied_groups
from data_gen.phantoms import ORGANS, KineticPhantom, MousePhantom, region_organs, region_shares
from data_gen.simulation.generate import DatasetPlan

GRID = VoxelGrid((24, 24, 24), 1.5)
AC, RA = decay_chain("Ac-225"), decay_chain("Ra-223")
MOUSE = MousePhantom({"soft_tissue": [1.0, 1.0]}, tumours=(1, 1), tumour_diameter_mm=(6.0, 6.0))
SIMPLE = CompartmentModel(
    ("blood", "tumour", "kidneys"),
    "blood",
    {"blood": {"tumour": 0.1}},
    {"Bi-213": {"tumour": {"kidneys": 2.0}}},
    {"Fr-221": 1.0},
)
FRAME = Frame(24 * 3600.0, 1800.0)


class TestActiniumAntibody(PhantomContract):
    nuclide = "Ac-225"

    def family(self):
        return KineticPhantom(MOUSE)


class TestRadiumChloride(PhantomContract):
    def family(self):
        return KineticPhantom(MOUSE)


@pytest.fixture(scope="module")
def mouse():
    return MOUSE(GRID, seeded_generator(3))


def _held(phantom, activity, organ):
    return float(activity[phantom.labels == ORGANS.index(organ)].double().sum())


def test_nothing_is_lost_between_regions():
    """Nothing excreted, all in view: each member's map sums to its Bateman activity, rel 1e-5."""
    family = KineticPhantom(MOUSE, SIMPLE, whole_body=()).for_chain(AC)
    groups = each_member(AC)
    maps = family(GRID, seeded_generator(1)).mean_activity(AC, groups, 1e4, FRAME)
    truth = mean_activity(AC, 1e4, FRAME.start_s, FRAME.end_s)
    expected = torch.tensor([truth[head] for head in groups.heads])
    torch.testing.assert_close(maps.sum((1, 2, 3)), expected, rtol=1e-5, atol=1e-9)


def test_uptake_of_a_region_is_the_exponential_of_its_rate():
    """One rate k into the tumour: A (1 - exp(-k t)) of the parent there in a short frame, rel 1e-4."""
    family = KineticPhantom(MOUSE, SIMPLE, whole_body=(), rate_spread=0.0).for_chain(AC)
    one = family(GRID, seeded_generator(1))
    parent = one.mean_activity(AC, tied_groups(AC), 1e4, Frame(3600.0 * 5, 1.0))[0]
    left = 1e4 * math.exp(-AC.decay_constant("Ac-225") * 3600.0 * 5)
    blood = one.shares["blood"][one.labels == ORGANS.index("tumour")].sum() * left * math.exp(-0.5)
    tumour = left * (1 - math.exp(-0.5)) + float(blood)
    assert _held(one, parent, "tumour") == pytest.approx(tumour, rel=1e-4)


def test_freed_bismuth_gathers_in_the_kidneys():
    """Kidneys hold more than twice as much Bi-213 as Ac-225, the tumour less Bi-213."""
    one = KineticPhantom(MOUSE).for_chain(AC)(GRID, seeded_generator(2))
    actinium, bismuth = one.mean_activity(AC, tied_groups(AC), 1e4, FRAME)
    assert _held(one, bismuth, "kidneys") > 2 * _held(one, actinium, "kidneys")
    assert _held(one, bismuth, "tumour") < _held(one, actinium, "tumour")


def test_bone_keeps_radium_and_its_progeny():
    """Most of the activity of both maps is in bone; a little Pb-211 leaves for the kidneys."""
    one = KineticPhantom(MOUSE).for_chain(RA)(GRID, seeded_generator(2))
    radium, lead = one.mean_activity(RA, tied_groups(RA), 1e4, FRAME)
    for activity in (radium, lead):
        assert _held(one, activity, "bone") > 0.5 * float(activity.sum())
    assert _held(one, lead, "kidneys") > 1.5 * _held(one, radium, "kidneys")


def test_uptake_per_gram_of_a_tumour_does_not_depend_on_its_size():
    """Half the mass takes up half as much, rel 1e-3; no mass takes up nothing."""
    model = load_kinetics("ac225_antibody_mouse")
    held = {}
    for mass in (0.0, 0.001, 0.002):
        kinetics = RegionKinetics(model.for_masses({"tumour": mass}), AC, 1e4)
        held[mass] = float(kinetics.activity([7200.0])[0, model.regions.index("tumour"), 0])
    assert held[0.0] == 0
    assert held[0.002] == pytest.approx(2 * held[0.001], rel=1e-3)


def test_a_mouse_without_tumours_has_no_tumour_activity():
    one = KineticPhantom(replace(MOUSE, tumours=(0, 0))).for_chain(AC)(GRID, seeded_generator(2))
    kinetics = RegionKinetics(one.model, AC, 1e4)
    assert float(kinetics.decays(*FRAME_SPAN)[one.model.regions.index("tumour")].sum()) == 0
    assert float(one.mean_activity(AC, tied_groups(AC), 1e4, FRAME).min()) >= 0


FRAME_SPAN = (FRAME.start_s, FRAME.end_s)


def test_rates_differ_from_mouse_to_mouse_as_asked_for():
    """Mean and standard deviation of ln(rate / written rate) over 400 individuals: 0 and 0.3, 4 sd."""
    rates = {"blood": {"tumour": 0.2}}
    model = CompartmentModel(("blood", "tumour"), "blood", rates)
    generator = seeded_generator("rates")
    drawn = [model.varied(0.3, generator).carrier_per_h["blood"]["tumour"] for _ in range(400)]
    logs = torch.tensor(drawn).div(0.2).log()
    assert float(logs.mean()) == pytest.approx(0.0, abs=4 * 0.3 / 20)
    assert float(logs.std()) == pytest.approx(0.3, abs=4 * 0.3 / math.sqrt(800))
    assert model.varied(0.0, generator).carrier_per_h == rates


def test_what_lies_outside_the_grid_is_the_part_of_the_bodys_mass(mouse):
    """Blood and bone in view: mass in view over the mass of the body; organs are in view as a whole."""
    one = KineticPhantom(MOUSE).for_chain(AC)(GRID, seeded_generator(3))
    in_view = float(mouse.density[mouse.labels > 0].double().sum()) * GRID.voxel_volume_ml / mouse.body_mass_g
    assert in_view < 1
    for region in ("blood", "bone", "soft_tissue"):
        assert float(one.shares[region].sum()) == pytest.approx(in_view, rel=1e-6)
    assert float(one.shares["kidneys"].sum()) == pytest.approx(1.0, rel=1e-12)


def test_regions_fill_their_organs(mouse):
    """Shares sum to 1 (1e-12) in their organ alone; blood goes as mL/g times mass; a lone organ as uptake."""
    shares = region_shares(mouse, ("blood", "kidneys", "tumour", "excreted"))
    assert set(shares) == {"blood", "kidneys", "tumour"}
    kidneys, liver = (mouse.labels == ORGANS.index(organ) for organ in ("kidneys", "liver"))
    assert float(shares["kidneys"][~kidneys].abs().max()) == 0
    ratio = shares["kidneys"][kidneys] / mouse.uptake[kidneys]
    assert float(ratio.max()) == pytest.approx(float(ratio.min()), rel=1e-9)
    assert all(float(share.sum()) == pytest.approx(1.0, rel=1e-12) for share in shares.values())
    blood = shares["blood"] / mouse.density
    assert float(blood[liver].mean() / blood[kidneys].mean()) == pytest.approx(0.31 / 0.24, rel=1e-6)
    assert float(shares["blood"][mouse.labels == 0].abs().max()) == 0


def test_soft_tissue_is_what_no_other_region_names():
    organs = region_organs(("blood", "tumour", "gut", "soft_tissue"), {"gut": ["gut", "stomach"]})
    assert organs["blood"] == ORGANS[1:]
    assert set(organs["soft_tissue"]) == set(ORGANS[1:]) - {"tumour", "gut", "stomach"}


def test_the_box_holds_a_model_for_each_of_its_nuclides():
    """Chosen by the injected nuclide alone."""
    assert {load_kinetics(name).nuclide for name in kinetics_names()} == {"Ac-225", "Ra-223"}
    assert kinetics_for(AC).injected_into == kinetics_for(RA).injected_into == "blood"


def test_a_model_that_does_not_fit_is_refused_before_anything_starts(tiny_system):
    """By the plan itself, in one sentence that names what would be right."""

    def plan(chain, **changed):
        return DatasetPlan(
            tiny_system.camera,
            chain,
            KineticPhantom(MOUSE, **changed),
            GRID,
            EnergyBins(20.0, 600.0, 58),
            {"train": 1},
            (1e3, 1e4),
            (1e4, 1e5),
            (600.0, 3600.0),
            (0.0, 1e5),
        )

    with pytest.raises(UserError, match=r"no model for Pb-212 .*ac225_antibody_mouse for Ac-225"):
        plan(decay_chain("Pb-212"))
    with pytest.raises(UserError, match="rates are for Ac-225; Ra-223 is injected"):
        plan(RA, kinetics="ac225_antibody_mouse")
    with pytest.raises(UserError, match="needs a YAML file or one of"):
        plan(RA, kinetics="nowhere")
    with pytest.raises(UserError, match="did you mean liver"):
        plan(RA, kinetics=CompartmentModel(("livr", "tumour"), "livr", {}))
    with pytest.raises(UserError, match="hold tumours"):
        plan(RA, kinetics=CompartmentModel(("blood", "liver"), "blood", {}))
    with pytest.raises(UserError, match="'marrow'"):
        plan(RA, organs={"bone": ["marrow"]})
    with pytest.raises(UserError, match="names the region 'skin'"):
        plan(RA, organs={"skin": ["soft_tissue"]})
    with pytest.raises(UserError, match="rate_spread"):
        plan(RA, rate_spread=-1.0)
    assert plan(RA).sha256 != plan(RA, kinetics=replace(kinetics_for(RA), injected_into="gut")).sha256


def test_individuals_need_the_injected_nuclide():
    with pytest.raises(UserError, match="call for_chain"):
        KineticPhantom(MOUSE)(GRID, seeded_generator(0))
