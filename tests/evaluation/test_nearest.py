"""The nearest images against a sort of all exact similarities."""

import numpy as np
import pytest

from dlcr.evaluation.nearest import nearest
from dlcr.evaluation.similarity import cosines, prepare, product


def by_sorting(exact, left_out, count):
    """Per row: indices and similarities of the `count` largest that are not left out, the lower index first."""
    result = []
    for values, out in zip(exact, left_out, strict=True):
        kept = [j for j in range(len(values)) if not out[j]]
        result.append([(j, values[j]) for j in sorted(kept, key=lambda j, v=values: (-v[j], j))[:count]])
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("images", [1, 4, 60])
@pytest.mark.parametrize("spread", [0, 1e-9, 1e-7, 1.0])
def test_equals_sorting(dtype, count, images, spread):
    rng = np.random.default_rng([count, images])
    gallery = rng.normal(size=(1, 32)) + spread * rng.normal(size=(images, 32))
    gallery[images // 2 :] = gallery[: images - images // 2]  # ties
    gallery, sources = (x.astype(dtype) for x in (gallery, rng.normal(size=(20, 32))))
    gallery, sources = prepare(gallery, "gallery"), prepare(sources, "sources")
    similarity, window = product(sources, gallery)
    left_out = rng.random(similarity.shape) < 0.2
    left_out[3] = True
    similarity[left_out] = -np.inf
    index, exact = nearest(similarity, window, sources, gallery, count)
    assert index.shape == exact.shape == (20, count)
    expected = by_sorting(cosines(sources.exact(slice(None)), gallery, slice(None)), left_out, count)
    for found, values, wanted in zip(index, exact, expected, strict=True):
        assert found[: len(wanted)].tolist() == [j for j, _ in wanted]
        np.testing.assert_allclose(values[: len(wanted)], [value for _, value in wanted], atol=1e-11)
        assert (values[len(wanted) :] == -np.inf).all()
