"""Activity of tumours, against shapes whose activity is known, lists made by hand, and a whole comparison."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.evaluation.judge import Judge
from hspi_learn.evaluation.tables import Table
from hspi_learn.evaluation.tumour_activity import (
    TumourActivities,
    chosen_reading,
    each_tumour_table,
    matched,
    tumour_activities,
    tumour_activity_numbers,
    tumour_activity_table,
    whole_tumours,
)
from hspi_learn.reconstructor import ScanBatch

NAN = math.nan
TUMOUR, SOFT, LIVER = (ORGANS.index(name) for name in ("tumour", "soft_tissue", "liver"))


def ball_mixed_into(host: Tensor) -> tuple[Tensor, Tensor, float]:
    """Activity [1, z, y, x], labels and the whole activity of an even ball of 50 a voxel, radius 2.3 voxels,
    its voxels filled in part (5^3 points in each), in a body of the labels ``host`` of 2 (soft) and 10."""
    at = (torch.arange(60).double() + 0.5) / 5 - 6.03
    inside = sum((a**2 for a in torch.meshgrid(at, at, at, indexing="ij")), torch.zeros(())) <= 2.3**2
    share = inside.double().unfold(0, 5, 5).unfold(1, 5, 5).unfold(2, 5, 5).mean((3, 4, 5))
    around = torch.where(host == LIVER, 10.0, 2.0).double()
    labels = torch.where(share > 0.5, TUMOUR, host)
    return (share * 50 + (1 - share) * around)[None], labels, 50 * float(share.sum())


@pytest.mark.parametrize("touches_liver", [False, True])
def test_a_whole_tumour_is_its_own_activity_with_the_rim(touches_liver: bool) -> None:
    """A ball in soft tissue, or with liver on one side: within 3 % of its activity, where the outlined voxels
    alone hold under 93 %."""
    host = torch.full((12, 12, 12), SOFT)
    if touches_liver:
        host[:, :, 8:] = LIVER
    activity, labels, truth = ball_mixed_into(host)
    single = (labels == TUMOUR)[None]
    found = float(whole_tumours(activity, labels, single))
    assert found == pytest.approx(truth, rel=0.03)
    assert float(activity[0, single[0]].sum()) < 0.93 * truth
    assert whole_tumours(activity, labels, single[:0]).shape == (1, 0)


def test_a_lesion_finds_the_tumour_where_its_maximum_is() -> None:
    """Maxima in a tumour, touching one, two at one tumour, and two voxels away, by hand."""
    tumours = torch.zeros(3, 9, 9, 9, dtype=torch.bool)
    tumours[0, 1, 1, 1] = tumours[1, 4, 4, 4:6] = tumours[2, 7, 7, 7] = True
    flat = [(z * 9 + y) * 9 + x for z, y, x in ((4, 4, 6), (7, 7, 5), (1, 1, 1), (4, 4, 4), (2, 2, 2))]
    assert matched(torch.tensor(flat), tumours) == {0: 2, 1: 3}
    assert matched(torch.tensor(flat[:2]), tumours) == {1: 0}
    assert matched(torch.tensor(flat[:0], dtype=torch.int64), tumours) == {}


def by_hand(image: list[float], regional: list[float], sd: list[float]) -> TumourActivities:
    """Three tumours of 20, 40 and 80 mm3 in two scans, the last of which the scan cannot tell; one map."""

    def column(first: float, second: float, third: float) -> Tensor:
        return torch.tensor([[[first, NAN]], [[second, third]]], dtype=torch.float64)

    low, high = ([r + sign * 1.6 * s for r, s in zip(regional, sd, strict=True)] for sign in (-1, 1))
    return TumourActivities(
        truth_bq=column(100.0, 200.0, 300.0),
        outlined_bq=column(80.0, 160.0, 240.0),
        image_bq=column(*image),
        regional_bq=column(*regional),
        sd_bq=column(*sd),
        low_bq=column(*low),
        high_bq=column(*high),
        least_sd=column(0.1, 0.1, 0.3),
        volume_mm3=torch.tensor([[20.0, NAN], [40.0, 80.0]]),
        total_bq=torch.tensor([1000.0, 2000.0]),
        counts=torch.tensor([5e4, 1e5]),
    )


def test_figures_by_hand() -> None:
    """Errors of the image -50 % and -25 %, regional 10 % and missed; the tumour beyond the bound is out."""
    test = by_hand([40.0, 120.0, 0.0], [110.0, 0.0, 9e9], [5.0, NAN, 1.0])
    found = tumour_activity_numbers({"net": test}, {}, ["Ra"])

    def figure(name: str, size: str = "all") -> float:
        kind, _, reading = name.partition("/")
        return found[f"test/tumour_activity/{kind}/net/Ra/{size}" + (f"/{reading}" if reading else "")]

    assert figure("tumours") == 2
    assert figure("bias/image") == pytest.approx(-0.375)
    assert figure("rms/image") == pytest.approx(math.sqrt((0.25 + 0.0625) / 2))
    assert figure("bias/regional", "0_30mm3") == pytest.approx(0.1)
    assert figure("bias/regional", "30_60mm3") == pytest.approx(-1.0)
    assert figure("found") == 0.5
    assert figure("sd") == pytest.approx(5 / 110)
    assert figure("covered") == 0.0  # 110 +- 8 does not hold 100
    assert figure("tumours", "60mm3") == 0
    assert math.isnan(figure("rms/image", "60mm3"))


def test_the_better_reading_is_told_by_validation_scans() -> None:
    """The image is better on validation scans, the regional estimate on test scans: the image is chosen."""
    test = by_hand([40.0, 120.0, 0.0], [100.0, 200.0, 300.0], [5.0, 5.0, 5.0])
    validation = by_hand([80.0, 160.0, 240.0], [150.0, 250.0, 300.0], [5.0, 5.0, 5.0])
    assert chosen_reading(validation, 0.0, 30.0, 0) == "image"
    assert chosen_reading(test, 0.0, 30.0, 0) == "regional"
    assert chosen_reading(test, 60.0, math.inf, 0) == "image"  # without a tumour
    found = tumour_activity_numbers({"net": test}, {"net": validation}, ["Ra"])
    assert found["test/tumour_activity/bias/net/Ra/0_30mm3/chosen"] == pytest.approx(-0.5)
    assert found["test/tumour_activity/regional_is_chosen/net/Ra/0_30mm3"] == 0.0
    table = tumour_activity_table({"net": test}, found, ["Ra"], {"net": "Net"})
    assert table.rows[0][:4] == ("Net", "Ra", "to 30", 1.0)
    assert table.rows[0][-1] == "image"
    each: Table = each_tumour_table({"net": test}, ["Ra"], {})
    assert each.rows[1][:6] == ("1", "net", "Ra", 1e5, 40.0, 200.0)
    assert len(each.rows) == 3


def test_a_scan_from_its_truth(model32: HyperspectralForwardModel, scans: ScanBatch, judge: Judge) -> None:
    """The true image: its sum is the outlined truth, and the tumour that it shows is estimated within 30 %
    (its two voxels are uneven, and the lower counts for both). From an even image, or one of NaN, the tumour
    is not found: 0, without SD."""
    first = ScanBatch(*(part[:1] for part in scans))
    least_sd = torch.full((1, 2, 1), 0.1)
    found = tumour_activities(model32, judge, first, first.activity, least_sd)
    assert torch.allclose(found.image_bq, found.outlined_bq)
    assert found.found.all()
    assert float(found.total_bq) == pytest.approx(float(first.activity.sum()))
    assert torch.allclose(found.regional_bq, found.outlined_bq, rtol=0.3)
    for none in (torch.ones_like(first.activity), first.activity * NAN):
        lost = tumour_activities(model32, judge, first, none, least_sd)
        assert not lost.found.any()
        assert not lost.regional_bq.any()
