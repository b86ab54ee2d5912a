"""Three pools of signal in a voxel: the fit of DECOMPOSE, voxel by voxel."""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit

PARAMETERS = 6
"""Amplitudes of the paramagnetic, the diamagnetic and the neutral pool; their |χ| in ppm; the rate of all in 1/s."""


@jit("f8(f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8[::1], f8[:,::1])", error_model="numpy")
def misfit(theta, real, imag, te, decay, turn, residual, slope):
    """Sum of squares of the residual, which with its derivatives is left in `residual` (2 n) and `slope` (6, 2 n)."""
    n = te.size
    total = 0.0
    for e in range(n):
        t = te[e]
        rest = np.exp(-theta[5] * t)
        p = rest * np.exp(-decay * theta[3] * t)
        d = rest * np.exp(-decay * theta[4] * t)
        cp, sp = p * np.cos(turn * theta[3] * t), p * np.sin(turn * theta[3] * t)
        cd, sd = d * np.cos(turn * theta[4] * t), -d * np.sin(turn * theta[4] * t)
        x = theta[0] * cp + theta[1] * cd + theta[2] * rest
        y = theta[0] * sp + theta[1] * sd
        residual[e] = real[e] - x
        residual[n + e] = imag[e] - y
        total += residual[e] ** 2 + residual[n + e] ** 2
        slope[0, e], slope[0, n + e] = cp, sp
        slope[1, e], slope[1, n + e] = cd, sd
        slope[2, e], slope[2, n + e] = rest, 0.0
        slope[3, e] = theta[0] * t * (-decay * cp - turn * sp)
        slope[3, n + e] = theta[0] * t * (-decay * sp + turn * cp)
        slope[4, e] = theta[1] * t * (-decay * cd + turn * sd)
        slope[4, n + e] = theta[1] * t * (-decay * sd - turn * cd)
        slope[5, e], slope[5, n + e] = -t * x, -t * y
    return total


@jit("b1(f8[:,::1], f8[::1], b1[::1])", error_model="numpy")
def solve(matrix, vector, free):
    """Solve in place by Cholesky for the free unknowns, the others 0; False if the matrix is not positive."""
    n = vector.size
    for i in range(n):
        if not free[i]:
            vector[i] = 0.0
            for j in range(n):
                matrix[i, j] = matrix[j, i] = 0.0
            matrix[i, i] = 1.0
    for i in range(n):
        for j in range(i + 1):
            s = matrix[i, j]
            for k in range(j):
                s -= matrix[i, k] * matrix[j, k]
            if i == j:
                if s <= 0:
                    return False
                matrix[i, i] = np.sqrt(s)
            else:
                matrix[i, j] = s / matrix[j, j]
    for i in range(n):
        s = vector[i]
        for k in range(i):
            s -= matrix[i, k] * vector[k]
        vector[i] = s / matrix[i, i]
    for i in range(n - 1, -1, -1):
        s = vector[i]
        for k in range(i + 1, n):
            s -= matrix[k, i] * vector[k]
        vector[i] = s / matrix[i, i]
    return True


@jit(
    "f8(f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8[::1], f8[::1], f8, i8, f8[::1], f8[:,::1], f8[:,::1], f8[:,::1],"
    " f8[::1], f8[::1], f8[::1], b1[::1])",
    error_model="numpy",
)
def fit(
    theta, real, imag, te, decay, turn, highest, scale, tolerance, iterations,
    residual, slope, normal, work, gradient, step, trial, free,
):  # fmt: skip
    """Levenberg-Marquardt within 0 to `highest`, in place of the start `theta`. Returns the sum of squares."""
    n = te.size
    cost = misfit(theta, real, imag, te, decay, turn, residual, slope)
    damping = 1e-2
    for _ in range(iterations):
        for i in range(6):
            s = 0.0
            for e in range(2 * n):
                s += slope[i, e] * residual[e]
            gradient[i] = s
            # At a bound, and pushed against it.
            free[i] = not ((theta[i] <= 0 and s <= 0) or (theta[i] >= highest[i] and s >= 0))
            for j in range(i + 1):
                s = 0.0
                for e in range(2 * n):
                    s += slope[i, e] * slope[j, e]
                normal[i, j] = normal[j, i] = s
        better = False
        for _ in range(12):
            for i in range(6):
                step[i] = gradient[i]
                for j in range(6):
                    work[i, j] = normal[i, j]
                work[i, i] += damping * (normal[i, i] + 1e-4 / (scale[i] * scale[i]))
            if solve(work, step, free):
                for i in range(6):
                    trial[i] = min(highest[i], max(0.0, theta[i] + step[i]))
                new = misfit(trial, real, imag, te, decay, turn, residual, slope)
                if new < cost:
                    better = True
                    break
            damping *= 4
        if not better:
            break
        gain = cost - new
        cost = new
        for i in range(6):
            theta[i] = trial[i]
        damping = max(damping * 0.2, 1e-9)
        if gain <= tolerance * cost:
            break
    return cost
