"""Groups of tied chain members against the Bateman solution of the whole chain."""

import pytest
import torch

from data_gen import UserError, decay_chain
from data_gen.nuclides import MemberGroups, activities_at, each_member, tied_groups


@pytest.mark.parametrize(
    ("nuclide", "heads"),
    [
        ("Ra-223", ("Ra-223", "Pb-211")),
        ("Ac-225", ("Ac-225", "Bi-213")),
        ("Th-227", ("Th-227", "Ra-223", "Pb-211")),
        ("Pb-212", ("Pb-212", "Bi-212")),
        ("At-211", ("At-211",)),
    ],
)
def test_members_that_live_long_enough_to_wander_have_their_own_map(nuclide, heads):
    """Pb-211, Bi-213 and Bi-212 are known to leave their parent's place; Pb-209 and Bi-207 are not seen."""
    assert tied_groups(decay_chain(nuclide)).heads == heads


@pytest.mark.parametrize("nuclide", ["Ra-223", "Ac-225", "Pb-212", "Ra-224", "Th-227", "At-211"])
def test_tied_ratios_are_those_of_the_bateman_equations(nuclide):
    """Five days after injection tied member over head is the ratio that the group holds, within 0.5 %.

    Bi-211 over a Pb-211 that nothing feeds would be 6 % more, Tl-207 22 %.
    """
    chain = decay_chain(nuclide)
    groups = tied_groups(chain)
    activity = activities_at(chain, 1.0, 5 * 86400.0)
    for column, (head, tied) in enumerate(groups.members.items()):
        for member in tied:
            ratio = float(groups.weights[chain.members.index(member), column])
            assert ratio == pytest.approx(activity[member] / activity[head], rel=0.005)


def test_weights_hold_one_map_a_member():
    """Every member belongs to one map at most; heads follow themselves exactly."""
    chain = decay_chain("Th-227")
    groups = tied_groups(chain)
    assert ((groups.weights > 0).sum(dim=1) <= 1).all()
    for column, head in enumerate(groups.heads):
        assert groups.weights[chain.members.index(head), column] == 1


def test_each_member_alone():
    chain = decay_chain("Ra-223")
    assert torch.equal(each_member(chain).weights, torch.eye(len(chain.members), dtype=torch.float64))


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ({"a": ["Ra-223", "Cs-137"]}, "does not hold"),
        ({"a": ["Rn-219", "Pb-211"]}, "outlives"),
        ({"a": ["Ra-223", "Pb-211"]}, "not fed"),
        ({"a": ["Ra-223"], "b": ["Ra-223"]}, "at most once"),
        ({}, "at least one"),
    ],
)
def test_wrong_groups_are_told(groups, reason):
    with pytest.raises(UserError, match=reason):
        MemberGroups(decay_chain("Ra-223"), groups)


def test_progeny_that_outlive_a_short_lived_parent_have_their_own_map():
    """Tl-207 (4.77 min) outlives Bi-211 (2.14 min), so it may wander from where Bi-211 decayed."""
    assert tied_groups(decay_chain("Bi-211")).heads == ("Bi-211", "Tl-207")


def test_a_nuclide_that_no_camera_sees_is_told():
    with pytest.raises(UserError, match="Pb-209 and its progeny emit no photons"):
        tied_groups(decay_chain("Pb-209"))
