"""The directional proximal step against its definition, and the fused passes against plain NumPy."""

import numpy as np

from chimap.numerics.directional import _split, directional_adjoint, directional_update
from chimap.numerics.threads import set_threads
from chimap.numerics.tv import tv_adjoint, tv_update

RNG = np.random.default_rng(0)


def test_proximal_point_is_a_minimum():
    for _ in range(300):
        p = RNG.normal(size=3).astype(np.float32)
        v = RNG.normal(size=3)
        v = (v * RNG.uniform(0, 0.97) / np.linalg.norm(v)).astype(np.float32)
        tau = np.float32(RNG.uniform(0.05, 2))
        across = np.eye(3) - np.outer(v, v)

        def objective(z, p=p, tau=tau, across=across):
            return 0.5 * ((z - p) ** 2).sum() + tau * np.linalg.norm(across @ z)

        z = np.array(_split(*p, *v, tau), float)
        beside = [objective(z + d) for d in 1e-3 * RNG.normal(size=(30, 3))]
        assert min(beside) > objective(z) - 1e-6


def test_passes_against_numpy_for_any_threads():
    shape, ih, tau, relax = (7, 6, 5), np.array([1, 0.8, 0.5], np.float32), 0.3, 1.7
    x = RNG.normal(size=shape).astype(np.float32)
    p = RNG.normal(size=(3, *shape)).astype(np.float32)
    v = (0.4 * RNG.normal(size=(3, *shape))).clip(-0.55, 0.55).astype(np.float32)
    z = np.zeros_like(p)
    for i in np.ndindex(shape):
        z[(slice(None), *i)] = _split(*p[(slice(None), *i)], *v[(slice(None), *i)], np.float32(tau))
    q = 2 * z - p
    adjoint = sum((np.roll(q[a], 1, a) - q[a]) * ih[a] for a in range(3))
    gradient = np.stack([(np.roll(x, -1, a) - x) * ih[a] for a in range(3)])
    updated = relax * gradient + (1 - relax) * z + (p - z)
    try:
        for threads in (1, 3):
            set_threads(threads)
            out, mine = np.zeros(shape, np.float32), p.copy()
            directional_adjoint(mine, v, tau, ih, out)
            directional_update(x, mine, v, tau, ih, relax)
            assert np.allclose(out, adjoint, atol=1e-6) and np.allclose(mine, updated, atol=2e-6)
    finally:
        set_threads(None)


def test_without_directions_it_is_total_variation():
    shape, ih = (6, 5, 7), np.ones(3, np.float32)
    x = RNG.normal(size=shape).astype(np.float32)
    p = RNG.normal(size=(3, *shape)).astype(np.float32)
    v = np.zeros_like(p)
    a, b, one, two = p.copy(), p.copy(), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    directional_adjoint(a, v, 0.4, ih, one)
    tv_adjoint(b, 0.4, ih, two)
    directional_update(x, a, v, 0.4, ih, 1.7)
    tv_update(x, b, 0.4, ih, 1.7)
    assert np.allclose(one, two, atol=1e-5) and np.allclose(a, b, atol=1e-5)
