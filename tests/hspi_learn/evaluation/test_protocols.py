"""What a protocol refuses before it starts."""

from __future__ import annotations

import pytest

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MapRdp, Osem
from hspi_learn.evaluation import ReconstructionProtocol


def test_only_osem_is_tuned(model32: HyperspectralForwardModel) -> None:
    """Iterations and filter are tuned, and of another method they are not what matters."""
    protocol = object.__new__(ReconstructionProtocol)
    protocol.model, protocol.classical = model32, Osem
    assert isinstance(protocol.osem, Osem)
    other = object.__new__(ReconstructionProtocol)
    other.model, other.classical = model32, MapRdp
    with pytest.raises(UserError, match="classical is MapRdp; it needs to be Osem"):
        _ = other.osem
