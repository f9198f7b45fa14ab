"""Batch: every item once and in order, halved when memory runs out, and only then."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.runtime.memory import Batch


def _limited(most: int, calls: list[int]) -> Callable[[Sequence], list]:
    """Doubles numbers, as long as there are at most `most` of them; writes down how many it was given."""

    def work(part: Sequence) -> list:
        calls.append(len(part))
        if len(part) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [2 * item for item in part]

    return work


@settings(deadline=None)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 50), st.integers(1, 50))
def test_results_are_in_order_whatever_fits(items: list[int], size: int, most: int) -> None:
    calls: list[int] = []
    batch = Batch(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert batch.run(_limited(most, calls), items) == [2 * item for item in items]
    assert sum(n for n in calls if n <= most) == len(items)  # nothing that fitted was done again
    assert 1 <= batch.size <= size


def test_size_halves_with_a_warning_and_stays_halved() -> None:
    calls: list[int] = []
    batch = Batch(8)
    with pytest.warns(
        UserWarning, match="GPU memory: batches of (8 become batches of 4|4 become batches of 2)"
    ) as seen:
        batch.run(_limited(3, calls), range(10))
    assert len(seen) == 2
    assert calls == [8, 4, 2, 2, 2, 2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch.run(_limited(3, calls), range(4))
    assert calls[7:] == [2, 2]


def test_one_item_that_does_not_fit_is_a_memory_error() -> None:
    batch = Batch(2)
    with (
        pytest.warns(UserWarning, match="batches of 2 become batches of 1"),
        pytest.raises(MemoryError, match=r"one item alone .*Tried to allocate 2\.00 GiB"),
    ):
        batch.run(_limited(0, []), [1, 2])


def test_what_a_failed_call_held_is_free_before_the_next() -> None:
    """The error's traceback holds the frames of the failed call, and these its tensors."""
    alive: list[int] = []

    class Held:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def work(part: Sequence) -> Sequence:
        assert not alive
        held = Held()
        if len(part) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        del held
        return part

    with pytest.warns(UserWarning, match="out of GPU memory"):
        assert Batch(4).run(work, [1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), MemoryError("host"), ValueError("bad image")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    def work(part: Sequence) -> Sequence:
        raise error

    batch = Batch(4)
    with pytest.raises(type(error)) as raised:
        batch.run(work, [1, 2, 3, 4])
    assert raised.value is error
    assert batch.size == 4


def test_takes_and_returns_arrays() -> None:
    results = Batch(2).run(lambda part: part * 2, np.arange(6).reshape(3, 2))
    assert np.array_equal(np.stack(results), [[0, 2], [4, 6], [8, 10]])


def test_rejects_sizes_and_results_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Batch(0)
    with pytest.raises(ValueError, match="1 results for 2 items"):
        Batch(2).run(lambda part: part[:1], [1, 2])


def test_does_not_import_torch() -> None:
    code = (
        "import sys; from dlcr.runtime.memory import Batch; Batch(2).run(list, [1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
