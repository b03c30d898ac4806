"""Decay chains, activities over time, and the photons that the members emit."""

from data_gen.nuclides.activity import activities_at, mean_activity
from data_gen.nuclides.bremsstrahlung import bremsstrahlung
from data_gen.nuclides.chain import DecayChain, decay_chain
from data_gen.nuclides.evaluations import nuclear_data
from data_gen.nuclides.groups import MemberGroups, each_member, tied_groups
from data_gen.nuclides.lines import PhotonLine, photon_lines

__all__ = [
    "DecayChain",
    "MemberGroups",
    "PhotonLine",
    "activities_at",
    "bremsstrahlung",
    "decay_chain",
    "each_member",
    "mean_activity",
    "nuclear_data",
    "photon_lines",
    "tied_groups",
]
