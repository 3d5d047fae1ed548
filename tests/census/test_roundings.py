"""Bounds of products on a GPU against exact fractions; tensor cores are simulated to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from miner.census.device.roundings import BY_SPEED, ROUNDINGS, Rounding
from miner.census.walk.key_space import KeySpace
from miner.errors import EngineError
from miner.triplets.distance import METRICS
from tests.hard_data import KINDS, vectors

REDUCED = ("tf32", "3xbf16")
GROUPS = (1, 4, 8, 16)
"""How many products tensor cores of different kinds add at once."""
SIGNIFICANT = 24


def exact(values: np.ndarray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def cut(value: Fraction, bits: int, exponent: int | None = None) -> Fraction:
    """Cut a number off, toward zero, below `bits` significant bits of it or of an exponent."""
    if not value:
        return value
    unit = Fraction(2) ** ((_exponent(value) if exponent is None else exponent) - bits + 1)
    whole = abs(value) // unit * unit
    return whole if value > 0 else -whole


def _exponent(value: Fraction) -> int:
    """The exponent of the greatest power of two that is not above the absolute value."""
    size = abs(value)
    found = size.numerator.bit_length() - size.denominator.bit_length()
    return found if Fraction(2) ** found <= size else found - 1


def tensor_core(own: Sequence[Fraction], other: Sequence[Fraction], group: int) -> Fraction:
    """Add exact products in groups: all terms are cut off below the largest one's 24 bits."""
    total = Fraction(0)
    for start in range(0, len(own), group):
        part = slice(start, start + group)
        terms = [x * y for x, y in zip(own[part], other[part], strict=True)] + [total]
        largest = max((_exponent(term) for term in terms if term), default=0)
        total = cut(sum(cut(term, SIGNIFICANT, largest) for term in terms), SIGNIFICANT)
    return total


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Round float32 numbers to 8 significant bits, ties to even, as float32."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def product(own: np.ndarray, other: np.ndarray, name: str, group: int) -> Fraction:
    """What tensor cores compute of two float64 vectors."""
    a, b = own.astype(np.float32), other.astype(np.float32)
    if name == "tf32":
        return tensor_core([cut(x, 11) for x in exact(a)], [cut(x, 11) for x in exact(b)], group)
    (ah, al), (bh, bl) = ((bfloat16(x), bfloat16(x - bfloat16(x))) for x in (a, b))
    cross = [tensor_core(exact(x), exact(y), group) for x, y in ((ah, bl), (al, bh))]
    return nearest(nearest(cross[0] + cross[1]) + tensor_core(exact(ah), exact(bh), group))


def nearest(value: Fraction) -> Fraction:
    """Round to the nearest float32 number."""
    return Fraction(float(np.float32(float(value)))) if value else value


def within(found: Fraction, own: np.ndarray, other: np.ndarray, share: float) -> bool:
    """Whether a product is off by at most `share` of the norms' product; decided in fractions."""
    a, b = exact(own), exact(other)
    off, size = found - dot(a, b), dot(a, a) * dot(b, b)
    return off * off <= Fraction(share) ** 2 * size


def adversarial(dim: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vectors whose roundings add up: just below a representable number, or of one sign."""
    rng = np.random.default_rng(dim)
    ones = np.ones(dim)
    scaled = 2.0 ** rng.integers(-20, 1, dim)
    return [
        (ones * (1 + 2.0**-10 - 2.0**-23), ones * (1 + 2.0**-10 - 2.0**-23)),
        (ones * (1 + 2.0**-8 + 2.0**-16), ones * (1 + 2.0**-8 + 2.0**-16)),
        (ones * (2 - 2.0**-23), -ones * (1 + 2.0**-12)),
        (np.append(2.0**12, np.full(dim - 1, 1 - 2.0**-24)), np.append(1.0, np.ones(dim - 1))),
        (rng.standard_normal(dim), rng.standard_normal(dim)),
        (scaled * (1 + rng.random(dim)), scaled[::-1] * (1 + rng.random(dim))),
        (scaled * rng.choice([-1, 1], dim), rng.random(dim) + 1e-3),
    ]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dim", [1, 3, 17, 128, 384])
@pytest.mark.parametrize("name", REDUCED)
def test_tensor_cores_stay_within_the_bound(name: str, dim: int, group: int) -> None:
    share = 1.01 * ROUNDINGS[name].relative(dim)
    for own, other in adversarial(dim):
        assert within(product(own, other, name, group), own, other, share)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.integers(1, 24).flatmap(
        lambda dim: st.tuples(
            *[arrays(np.float32, dim, elements=st.floats(-1e4, 1e4, width=32))] * 2
        )
    ),
    name=st.sampled_from(REDUCED),
    group=st.sampled_from(GROUPS),
)
def test_any_product_stays_within_the_bound(
    pair: tuple[np.ndarray, np.ndarray], name: str, group: int
) -> None:
    own, other = (np.where(np.abs(x) < 1e-15, 0, x).astype(np.float64) for x in pair)
    share = 1.01 * ROUNDINGS[name].relative(len(own))
    assert within(product(own, other, name, group), own, other, share)


@pytest.mark.parametrize("name", REDUCED)
def test_the_bounds_are_not_looser_than_what_happens(name: str) -> None:
    """Half of what representing the operands may lose, and a sixth of what the sums may."""
    rounding, dim = ROUNDINGS[name], 64
    short = 2.0**-10 - 2.0**-23 if name == "tf32" else 2.0**-8 - 2.0**-17 - 2.0**-23
    value = np.full(dim, 1 + short)
    found = product(value, value, name, 4)
    assert not within(found, value, value, rounding.operands / 2)
    terms = exact(np.append(2.0**12, np.full(dim - 1, 2.0**-11 - 2.0**-30)))
    lost = sum(terms) - tensor_core(terms, [Fraction(1)] * dim, 1)
    assert lost > Fraction(rounding.sums * dim * 2.0**-24) * sum(terms) / 7


@pytest.mark.parametrize("dim", [2, 50, 384])
def test_float32_sums_in_any_order_stay_within_the_bound(dim: int) -> None:
    rng = np.random.default_rng(dim)
    for own, other in adversarial(dim):
        share = 1.01 * ROUNDINGS["fp32"].relative(dim)
        for _ in range(5):
            order = rng.permutation(dim)
            total = np.float32(0)
            for x, y in zip(
                own[order].astype(np.float32), other[order].astype(np.float32), strict=True
            ):
                total = np.float32(total + np.float32(x * y))
            assert within(Fraction(float(total)), own, other, share)


def computed_keys(
    metric: Any, rows: np.ndarray, rounding: Rounding
) -> tuple[KeySpace, np.ndarray, np.ndarray]:
    """The space, the prepared rows, and the keys of all pairs from PyTorch."""
    torch = pytest.importorskip("torch")
    from miner.census.device.rows import DeviceRows, sent

    space = KeySpace.fit(metric, rows, rows)
    prepared = space.prepare(rows)
    on_device = DeviceRows(space, rows, torch.device("cpu"), 1 << 20, 1 << 20)
    keys = on_device.keys(sent(prepared, on_device.device), rounding)
    return space, prepared, keys.to(torch.float64).numpy()


@pytest.mark.parametrize("name", BY_SPEED)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("huge", "tiny")])
def test_keys_of_pytorch_stay_within_their_bound(kind: str, metric: Any, name: str) -> None:
    """Bias included, as fractions of the prepared vectors."""
    rows = vectors(kind, 12, 33, seed=2)
    space, prepared, keys = computed_keys(metric, rows, ROUNDINGS[name])
    norms = np.sqrt((prepared * prepared).sum(-1))
    shape = (33, norms, space.max_norm)
    error = ROUNDINGS[name].error(*shape, euclidean=space.euclidean) + space.key_error(prepared)
    whole = [exact(row) for row in prepared]
    for a, own in enumerate(whole):
        for b, other in enumerate(whole):
            true = (dot(other, other) / 2 if space.euclidean else 0) - dot(own, other)
            assert abs(Fraction(float(keys[a, b])) - true) <= Fraction(float(error[a]))


def test_products_that_lose_more_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from miner.census.device import products

    for dim in (1, 16, 384, 4096):
        for rounding in ROUNDINGS.values():
            if rounding.fits(dim):
                products.check_products(torch.device("cpu"), dim, rounding)
    plain = products.multiply
    coarse = ROUNDINGS["tf32"]
    monkeypatch.setattr(products, "multiply", lambda own, rows, _: plain(own, rows, coarse))
    for dim in (16, 384, 8192):  # with many dimensions the bound itself would allow it
        with pytest.raises(EngineError, match=r"products on cpu are off by"):
            products.check_products(torch.device("cpu"), dim, ROUNDINGS["fp32"])
    with pytest.raises(EngineError, match=r"more than fp32 allows .* unset NVIDIA_TF32_OVERRIDE"):
        products.check_products(torch.device("cpu"), 384, ROUNDINGS["fp32"])


def test_bounds_say_for_how_many_dimensions_they_hold() -> None:
    assert ROUNDINGS["fp64"].fits(10**9)
    for name in ("fp32", *REDUCED):
        assert ROUNDINGS[name].fits(4096)
        assert not ROUNDINGS[name].fits(200_000)
