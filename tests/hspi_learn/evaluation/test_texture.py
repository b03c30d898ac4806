"""Texture of a study: ratios by hand, distances that order what is more and less like truths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.postfilter import smoothed_in_body
from hspi_learn.data import KeptTensors
from hspi_learn.evaluation import Judge, ReconstructionOutcome
from hspi_learn.evaluation import texture as texture_module
from hspi_learn.evaluation.tables import texture_table
from hspi_learn.evaluation.texture import TruthReference, Truths, texture_numbers
from hspi_learn.metrics import high_frequency_share, mean_interval, total_variation
from hspi_learn.networks import trained_features
from hspi_learn.reconstructor import ScanBatch, scan_body


def phantoms(number: int, seed: int) -> ScanBatch:
    """Bodies of 12^3 voxels with two organs and a tumour in every other one, two maps."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(number, 12, 12, 12, dtype=torch.int64)
    labels[:, 1:11, 1:11, 1:11] = 1
    for scan in range(0, number, 2):
        z, y, x = (int(torch.randint(2, 9, (), generator=generator)) for _ in range(3))
        labels[scan, z : z + 2, y : y + 2, x : x + 2] = 2
    uptake = torch.rand(number, 2, 3, generator=generator) * torch.tensor([0.0, 2.0, 30.0])
    index = labels.flatten(1)[:, None].expand(-1, 2, -1)
    activity = uptake.gather(2, index).reshape(number, 2, 12, 12, 12)
    density, nothing = (labels > 0).float(), torch.zeros(number)
    return ScanBatch(nothing[:, None, None], nothing, density, activity, labels, torch.arange(number))


JUDGE = Judge(("outside", "soft_tissue", "tumour"), 1.0)


@pytest.fixture(scope="module")
def reference() -> TruthReference:
    truths = Truths.of(JUDGE, [phantoms(100, 0), phantoms(100, 1)])
    network = trained_features(*truths, steps=100)
    return TruthReference(network, network.features(truths.activity, truths.body))


def test_what_a_network_is_told_of_truths() -> None:
    """Logarithms of organ means over the body's mean, map after map, and of 1 + the tumour's voxels; NaN
    where there is no tumour to have a mean."""
    scans = phantoms(4, 0)
    targets = Truths.of(JUDGE, [scans]).targets
    assert targets.shape == (4, 2 * 2 + 1)
    body = scans.labels[0] > 0
    mean = scans.activity[0, 1][body].mean()
    tumour = scans.activity[0, 1][scans.labels[0] == 2].mean()
    assert float(targets[0, 3]) == pytest.approx(float((tumour / mean).log()), rel=1e-5)
    assert float(targets[0, 4]) == pytest.approx(float(torch.tensor(9.0).log()), rel=1e-6)
    assert targets[1, 1].isnan()
    assert float(targets[1, 4]) == 0


def test_a_trained_network_tells_tumours() -> None:
    """Of unseen phantoms better than the mean of the training ones: less than half of its squared error; the
    same seed gives the same weights, and draws nothing from the global generator."""
    train, test = (Truths.of(JUDGE, [phantoms(64, seed)]) for seed in (0, 1))
    state = torch.get_rng_state()
    network = trained_features(*train, steps=80)
    assert torch.equal(state, torch.get_rng_state())
    told = network(test.activity, test.body)[:, -1]
    mean, spread = train.targets[:, -1].mean(), train.targets[:, -1].std(unbiased=False)
    wanted = (test.targets[:, -1] - mean) / spread
    assert float((told - wanted).square().mean()) < 0.5 * float(wanted.square().mean())
    again = trained_features(*train, steps=80)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    other = trained_features(*train, steps=80, seed=1)
    assert not torch.equal(network.head.weight, other.head.weight)


def test_features_know_no_unit_and_see_the_body_alone(reference: TruthReference) -> None:
    scans = phantoms(4, 2)
    body = scan_body(scans.density)
    features = reference.network.features(scans.activity, body)
    torch.testing.assert_close(reference.network.features(1e4 * scans.activity, body), features)
    outside = torch.where(body, scans.activity, 99.0)
    torch.testing.assert_close(reference.network.features(outside, body), features)


def test_blur_is_farther_than_other_truths(
    reference: TruthReference, model32: HyperspectralForwardModel
) -> None:
    """Other truths are the floor; blurred by 1 and 3 voxels (FWHM, of 2 mm) they lie farther and farther."""
    scans = phantoms(200, 3)
    body = scan_body(scans.density)
    floor = reference.distance(scans.activity, body)
    near, far = (
        reference.distance(smoothed_in_body(scans.activity, body, model32.grid, fwhm_mm), body)
        for fwhm_mm in (2.0, 6.0)
    )
    assert 0 < floor < near < far


def test_a_reference_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it comes from the file, with the same features; other truths have their own; of few
    there is none."""
    monkeypatch.setattr(texture_module, "STEPS", 3)
    truths, kept = Truths.of(JUDGE, [phantoms(40, 0)]), KeptTensors(tmp_path, "key")
    first = TruthReference.of(truths, kept)
    assert first is not None
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(texture_module, "trained_features", lambda *_, **__: pytest.fail("trained again"))
        second = TruthReference.of(truths, kept)
        assert second is not None
        assert torch.equal(first.features, second.features)
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            TruthReference.of(Truths.of(JUDGE, [phantoms(40, 1)]), kept)
    assert TruthReference.of(Truths.of(JUDGE, [phantoms(31, 0)]), kept) is None


def test_numbers_and_table_of_a_study(
    by_hand: ReconstructionOutcome, reference: TruthReference, model32: HyperspectralForwardModel
) -> None:
    """Ratios to the truth of each mouse, medians over mice of means over maps. A constant factor changes
    none: it is as rough as the truth; a failed method has no figures."""
    scans = phantoms(3, 5)
    body = scan_body(scans.density)
    rough, smooth = 0.5 * scans.activity, smoothed_in_body(scans.activity, body, model32.grid, 4.0)
    outcome = replace(
        by_hand,
        truths=scans.activity,
        density=scans.density,
        predictions={"gan": rough, "osem": smooth, "mean_image": rough},
    )
    failed = {c: dict(by) for c, by in outcome.failed.items()}
    for by_method in failed.values():
        if "mean_image" in by_method:
            by_method["mean_image"] = torch.ones_like(by_method["mean_image"])
    outcome = replace(outcome, failed=failed)
    numbers = texture_numbers(outcome, reference)
    assert numbers["test/power_ratio/gan"] == pytest.approx(1.0)
    assert numbers["test/total_variation/gan"] == pytest.approx(1.0)
    for name, figure in (("power_ratio", high_frequency_share), ("total_variation", total_variation)):
        wanted = (figure(smooth, body) / figure(scans.activity, body)).mean(1).median()
        assert numbers[f"test/{name}/osem"] == pytest.approx(float(wanted), rel=1e-6)
        assert numbers[f"test/{name}/osem"] < 1
    assert numbers["test/frechet/gan"] == pytest.approx(numbers["test/frechet/truth"], rel=1e-3)
    assert numbers["test/frechet_volumes"] == 200
    assert not any(key.endswith("/mean_image") for key in numbers)
    rows = {row[0]: row[1:] for row in texture_table(outcome, numbers).rows}
    assert rows["Truth"][:2] == (1.0, 1.0)
    assert rows["GAN"][0] == numbers["test/power_ratio/gan"]
    assert rows["GAN"][2] == numbers["test/frechet/gan"]
    assert rows["Training mean"] == ("failed",) * 4
    difference = numbers["test/power_ratio_difference/gan_minus_osem"]
    shares = [high_frequency_share(maps, body) for maps in (scans.activity, smooth)]
    assert difference == pytest.approx(1 - float((shares[1] / shares[0]).mean()), rel=1e-5)
    without = texture_numbers(outcome, None)
    assert not any("frechet" in key for key in without)
    assert "too few training truths" in texture_table(outcome, without).caption


def test_the_interval_of_a_difference_of_distances() -> None:
    """Features of another scale lie farther: over ten such pairs of 200 samples each, the 95 % interval
    of the difference to other truths never holds 0, and holds the difference of 4,000 samples in eight or
    more."""
    truths = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def difference(number: int, seed: int) -> torch.Tensor:
        sample = torch.randn(number, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        wide, like = 1.8 * sample, sample.flip(1)
        return texture_module._jackknife(wide, truths) - texture_module._jackknife(like, truths)

    wanted = float(difference(4000, 99).mean())
    found = [mean_interval(difference(200, seed)) for seed in range(10)]
    assert all(interval.excludes_zero for interval in found)
    assert sum(interval.low < wanted < interval.high for interval in found) >= 8
