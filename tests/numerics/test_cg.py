"""Conjugate gradients against a direct solution."""

import numpy as np

from chimap.numerics.cg import conjugate_gradients


def test_solves_as_a_direct_solver_and_preconditioning_saves_iterations():
    rng = np.random.default_rng(0)
    shape = (4, 5, 6)
    scale = np.exp(rng.normal(0, 2, shape)).astype(np.float32)
    q = np.linalg.qr(rng.normal(size=(120, 120)))[0]
    a = q @ np.diag(np.linspace(1, 3, 120)) @ q.T
    a = (np.sqrt(scale.ravel())[:, None] * a * np.sqrt(scale.ravel())).astype(np.float32)
    b = rng.normal(size=shape).astype(np.float32)
    kept = b.copy()

    def operator(x):
        return (a @ x.ravel()).reshape(shape)

    plain = conjugate_gradients(operator, b, tolerance=1e-4, iterations=500)
    better = conjugate_gradients(
        operator, b, precondition=lambda r: r / scale, tolerance=1e-4, iterations=500
    )
    truth = np.linalg.solve(a.astype(float), b.ravel()).reshape(shape)
    assert better.converged and better.iterations < plain.iterations
    assert np.allclose(better.x, truth, rtol=0, atol=2e-3 * np.abs(truth).max())
    assert np.array_equal(b, kept)
    assert not conjugate_gradients(operator, b, tolerance=1e-6, iterations=1).converged
