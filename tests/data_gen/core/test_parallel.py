"""Work on all cores: the order of results, one thread of torch each, and what is told of progress."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from data_gen.core import parallel
from data_gen.core.parallel import on_all_cores, told


@pytest.mark.parametrize("cores", [1, 3])
def test_results_in_order_each_on_one_thread(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """Whatever finishes first; torch has its threads back afterwards, and no gradient is recorded."""
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    before = torch.get_num_threads()

    def slow_at_first(number: int) -> tuple[int, int, bool]:
        time.sleep(0.05 if number == 0 else 0.0)
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    assert list(on_all_cores(slow_at_first, range(6))) == [(number, 1, False) for number in range(6)]
    assert torch.get_num_threads() == before


def test_calls_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls that wait for each other both end; with one at a time at most they would not."""
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    meeting = threading.Barrier(2, timeout=5)
    assert sorted(on_all_cores(lambda _: meeting.wait(), range(2))) == [0, 1]
    alone = threading.Barrier(2, timeout=0.05)
    with pytest.raises(threading.BrokenBarrierError):
        list(on_all_cores(lambda _: alone.wait(), range(2), most=1))


def test_short_work_is_not_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing before the time is up; then lines on stderr with how far it is and how long it took."""
    with told("matrices", 2) as advance:
        advance()
        advance()
    assert capsys.readouterr() == ("", "")
    with told("matrices", 2, quiet_s=0.0) as advance:
        advance()
        advance()
    assert capsys.readouterr() == ("", "matrices: 1 of 2 (0 s)\nmatrices: 2 in 0 s\n")
