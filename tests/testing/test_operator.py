import numpy as np
import pytest

from somascope.testing import check_operator


class Matrix:
    def __init__(self, matrix, dtype=None):
        self.m = np.asarray(matrix, dtype)
        self.domain, self.range = (self.m.shape[1],), (self.m.shape[0],)

    def forward(self, x):
        return self.m.astype(np.result_type(self.m.dtype, x.dtype)) @ x

    def adjoint(self, y):
        return self.m.conj().T @ y


class Gradient:
    domain, range = (6, 7), (2, 6, 7)

    def forward(self, x):
        return np.stack([np.roll(x, -1, a) - x for a in (0, 1)])

    def adjoint(self, y):
        return sum(np.roll(y[a], 1, a) - y[a] for a in (0, 1))


class Fourier:
    domain = range = (8, 5)

    def forward(self, x):
        return np.fft.fft2(x, norm="ortho")

    def adjoint(self, y):
        return np.fft.ifft2(y, norm="ortho")


def matrix(seed=1):
    return np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float32)


def test_good_operators_pass():
    check_operator(Matrix(matrix()))
    check_operator(Gradient(), domain_dtype="float64", range_dtype="float64", tolerance=1e-12)
    check_operator(Fourier(), domain_dtype="complex128", range_dtype="complex128", tolerance=1e-12)
    check_operator(Fourier(), domain_dtype="float32", range_dtype="complex64")
    check_operator(Matrix(matrix() + 1j * matrix(2)), domain_dtype="complex64",
                   range_dtype="complex64")  # fmt: skip


def broken(**methods):
    return type("Broken", (Matrix,), methods)(matrix())


def grows(self, x):
    self.k = getattr(self, "k", 0) + 1
    return (self.m @ x) * self.k


def spoils(self, x):
    out = self.m @ x
    x[0] = 0
    return out


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"adjoint": lambda self, y: 1.001 * (self.m.T @ y)}, "not the adjoint"),
        ({"adjoint": lambda self, y: np.linalg.pinv(self.m) @ y}, "not the adjoint"),
        ({"forward": lambda self, x: self.m @ x + 1}, "not"),
        ({"forward": lambda self, x: np.abs(self.m @ x)}, "not"),
        ({"forward": lambda self, x: self.m @ x[:6].clip(-1, 1)}, "not"),
        ({"forward": lambda self, x: 0 * (self.m @ x)}, "is zero"),
        ({"forward": lambda self, x: (self.m @ x)[:, None]}, "shape"),
        ({"forward": lambda self, x: (self.m @ x).astype(np.int32)}, "floating point"),
        ({"forward": lambda self, x: self.m @ x * np.nan}, "not finite"),
        ({"forward": grows}, "second time"),
        ({"forward": spoils}, "changes its input"),
    ],
)
def test_broken_operators_are_caught(methods, words):
    with pytest.raises(AssertionError, match=words):
        check_operator(broken(**methods))


def test_only_the_missing_conjugate():
    op = Matrix(matrix() + 1j * matrix(2))
    op.adjoint = lambda y: op.m.T @ y
    with pytest.raises(AssertionError, match="not the adjoint"):
        check_operator(op, domain_dtype="complex64", range_dtype="complex64")


def test_a_map_that_is_linear_only_for_short_vectors():
    op = Matrix(matrix())
    longest = float(np.linalg.norm(np.random.default_rng(0).normal(size=6))) * 1.0001
    op.forward = lambda x: (op.m @ x) * min(1, longest / float(np.linalg.norm(x)))
    with pytest.raises(AssertionError, match="forward is not linear"):
        check_operator(op)


def test_lost_precision_and_missing_methods():
    op = Matrix(matrix())
    op.forward = lambda x: (op.m @ x).astype(np.float32)
    with pytest.raises(AssertionError, match="precision is lost"):
        check_operator(op, domain_dtype="float64", range_dtype="float64")
    with pytest.raises(AssertionError, match="lacks"):
        check_operator(object())
