from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.simulate import cylinder, flask, sphere
from chimap.simulate.resample import average


def numerical(make, shape, acq, pad=2.0):
    """The field by convolution on a grid twice as fine, averaged over each voxel."""
    fine = acq.with_(voxel_size_mm=tuple(v / 2 for v in acq.voxel_size_mm))
    chi = make([2 * n for n in shape], fine).chi_ppm
    return average(forward_field(chi, fine, pad=pad), shape)


def worst(phantom, field, where=np.s_[:]):
    """Largest difference off the surface voxels and their neighbours, relative to the largest field."""
    near = binary_dilation(phantom.surface)
    return np.abs(field - phantom.field_ppm)[where][~near[where]].max() / np.abs(phantom.field_ppm).max()


@pytest.mark.parametrize("b0_dir", [(0, 0, 1), (1, 0, 0), (0.3, -0.5, 0.8)])
@pytest.mark.parametrize(("shape", "voxel"), [((50, 50, 50), (1, 1, 1)), ((57, 48, 40), (0.9, 1.0, 1.3))])
def test_sphere_field_is_the_dipole_convolution(shape, voxel, b0_dir):
    acq = Acquisition((0.01,), 3.0, b0_dir, voxel)

    def make(shape, acq):
        return sphere(shape, acq, radius_mm=12, chi_ppm=0.7)

    phantom = make(shape, acq)
    assert worst(phantom, numerical(make, shape, acq)) < 0.01
    # On the grid itself the sampled kernel rings, most of all inside; the field as a whole is still right.
    direct = forward_field(phantom.chi_ppm, acq) - phantom.field_ppm
    assert np.sqrt(np.mean(direct[~phantom.surface] ** 2)) < 0.01 * np.abs(phantom.field_ppm).max()


@pytest.mark.parametrize("b0_dir", [(0, 0, 1), (1, 0, 0), (0.6, -0.5, 0.8)])
@pytest.mark.parametrize(("shape", "axis"), [((6, 96, 96), (1, 0, 0)), ((64, 64, 64), (0, 1, 1))])
def test_cylinder_field_is_the_periodic_convolution(shape, axis, b0_dir):
    """Both axes close on themselves in a periodic grid, where the cylinder is endless."""
    acq = Acquisition((0.01,), 3.0, b0_dir)
    side = shape[1]

    def make(shape, acq):
        here = cylinder(shape, acq, radius_mm=4, axis=axis)
        if axis == (1, 0, 0):
            return here
        # Where it leaves the grid at a corner it comes back at the opposite one.
        corners = [
            cylinder(shape, acq, radius_mm=4, axis=axis, centre_mm=(0, s, -s)).chi_ppm
            for s in (side / 2, -side / 2)
        ]
        return replace(here, chi_ppm=here.chi_ppm + sum(corners))

    fine = make([2 * n for n in shape], acq.with_(voxel_size_mm=(0.5, 0.5, 0.5)))
    # Close to so thin a cylinder the mean over a voxel is not the value at its centre.
    phantom = replace(cylinder(shape, acq, radius_mm=4, axis=axis), field_ppm=average(fine.field_ppm, shape))
    field = numerical(make, shape, acq, pad=1.0)
    # A periodic grid knows the field up to a constant, and has neighbours far away.
    middle = np.s_[:, side // 2 - 12 : side // 2 + 12, side // 2 - 12 : side // 2 + 12]
    if axis == (0, 1, 1):
        middle = np.s_[20:44, 20:44, 20:44]
    off = binary_dilation(phantom.surface)[middle]
    field -= np.median((field - phantom.field_ppm)[middle][~off])
    # A thin cylinder along a diagonal is the worst case for a grid, and its copies are nearer.
    assert worst(phantom, field, middle) < (0.01 if axis == (1, 0, 0) else 0.02)


def test_partial_volume_keeps_the_volume(acq):
    phantom = sphere((60, 55, 41), acq, radius_mm=12, chi_ppm=2.0)
    volume = phantom.chi_ppm.sum(dtype=float) / 2 * np.prod(acq.voxel_size_mm)
    assert volume == pytest.approx(4 / 3 * np.pi * 12**3, rel=2e-3)
    assert phantom.chi_ppm.dtype == phantom.field_ppm.dtype == np.float32
    assert not (phantom.inside & phantom.surface).any()


def test_flask_holds_the_object_in_water():
    acq = Acquisition((0.01,), 3.0)
    phantom = flask(sphere((40, 40, 40), acq, radius_mm=6, chi_ppm=-0.5), acq)
    assert set(np.unique(phantom.labels)) == {0, 1, 2}
    assert phantom.chi_ppm[20, 20, 20] == np.float32(-0.5)
    assert phantom.chi_ppm[0, 0, 0] > 9
    assert phantom.m0[phantom.labels == 0].max() < 1
    assert phantom.chi_ppm[phantom.mask].max() == 0


@pytest.mark.parametrize(
    "change", [{"radius_mm": 0}, {"radius_mm": 5, "supersample": 0}, {"radius_mm": 5, "shape": (8, 8)}]
)
def test_bad_parameters_are_told(acq, change):
    with pytest.raises(InputError):
        sphere(**{"shape": (8, 8, 8), "acq": acq, **change})
    with pytest.raises(InputError):
        cylinder((8, 8, 8), acq, radius_mm=2, axis=(0, 0, 0))
