"""Float32 cosines are as right as `window` says; exact ones don't depend on scale; broken features are named."""

import numpy as np
import pytest

from dlcr.evaluation import similarity
from dlcr.evaluation.similarity import cosines, pair_cosines, prepare, products

DIRECTIONS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "positive": lambda rng, shape: np.abs(rng.normal(size=shape)),
    "nearly constant": lambda rng, shape: 1 + 0.01 * rng.normal(size=shape),
    "repeated": lambda rng, shape: np.repeat(rng.normal(size=(shape[0], -(-shape[1] // 64))), 64, axis=1)[
        :, : shape[1]
    ],
    "heavy-tailed": lambda rng, shape: rng.standard_t(1.2, size=shape),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 2, 7, 64, 384, 2048])
@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_error_of_float32_stays_within_half_the_window(columns, kind, dtype):
    rng = np.random.default_rng(columns)
    query, gallery = (prepare(DIRECTIONS[kind](rng, (n, columns)).astype(dtype), "rows") for n in (60, 400))
    exact = query.exact(slice(None)) @ gallery.exact(slice(None)).T
    for rows, found, window in products(query, gallery):
        assert found.dtype == np.float32
        assert np.abs(found / query.scale[rows] - exact[rows]).max() <= window / 2
        assert window <= 2 * (columns + 8) * 2.0**-24
        assert kind == "repeated" or window < 300 * 2.0**-24


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_rows_are_scaled_to_length_1(dtype):
    given = np.random.default_rng(0).normal(size=(50, 9), scale=20).astype(dtype)
    given[7] = 0
    rows = prepare(given, "rows")
    lengths = np.linalg.norm(given.astype(float), axis=1)
    lengths[7] = 1
    np.testing.assert_allclose(rows.single, given / lengths[:, None], rtol=1e-6)
    assert (rows.scale == 1).all()
    np.testing.assert_allclose(rows.exact([3, 7]), given[[3, 7]] / lengths[[3, 7], None])


@pytest.mark.parametrize("columns", [1, 63, 64, 200])
def test_nothing_is_copied_of_float32_rows_of_usual_lengths(columns):
    given = np.random.default_rng(0).normal(size=(5, columns)).astype(np.float32)
    rows = prepare(given, "rows")
    assert rows.single is given
    np.testing.assert_allclose(rows.scale[:, 0], np.linalg.norm(given.astype(float), axis=1), rtol=2.0**-23)
    assert prepare(given * np.float32(1e30), "rows").single is not given


@pytest.mark.parametrize("scale", [1e-300, 1e-120, 1.0, 1e120, 1e300])
def test_no_scale_over_or_underflows(scale):
    rng = np.random.default_rng(1)
    given, gallery = rng.normal(size=(5, 3)), prepare(rng.normal(size=(8, 3)), "gallery")
    expected = cosines(prepare(given, "query").exact(slice(None)), gallery, [1, 5])
    scaled = prepare(given * scale, "query")
    np.testing.assert_allclose(cosines(scaled.exact(slice(None)), gallery, [1, 5]), expected, atol=1e-12)
    np.testing.assert_allclose(cosines(gallery.exact([1, 5]), scaled, slice(None)).T, expected, atol=1e-12)
    i, j = np.repeat(np.arange(5), 2), np.tile([1, 5], 5)
    np.testing.assert_allclose(pair_cosines(scaled, gallery, i, j), expected.ravel(), atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(value):
    given = np.ones((3000, 400), dtype=np.float32)
    given[[2100, 2950], 17] = value
    with pytest.raises(ValueError, match="gallery must be finite, but row 2100 is not"):
        prepare(given, "gallery")


@pytest.mark.parametrize("rows", [0, 1, 2, 1001])
def test_threads_cover_all_rows_once(rows):
    seen = np.zeros(rows, dtype=int)

    def work(part):
        assert (part.stop - part.start) * 1000 <= similarity.CHUNK_VALUES
        seen[part] += 1

    similarity.in_threads(work, rows, 1000)
    assert (seen == 1).all()


def test_of_several_errors_in_threads_the_first_is_raised():
    def work(part):
        raise ValueError(str(part.start))

    with pytest.raises(ValueError, match=r"^0$"):
        similarity.in_threads(work, 100, 10)
