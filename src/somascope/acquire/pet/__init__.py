"""Positron emission tomography: from coincidences to activity in Bq/ml and standardised uptake.

The contract of this room
-------------------------
**Geometry.** `scanner.Scanner` is a cylinder of crystal rings about S (LPS), its centre at the
scan's ``centre``. Crystal ``c`` of ``N`` lies at ``psi = 2 pi c / N`` at
``(L, P) = R (sin psi, -cos psi)``, ring ``r`` at ``S = (r - (rings - 1) / 2) ring_spacing``; R is
the inner radius plus the mean depth of interaction. Crystal number in lists: ``ring * N + c``.

**Scans.** `sinogram.SinogramScan` (kind ``pet.sinogram``) measures ``([tof,] plane, angle,
radial)``; angle ``a`` and radial bin ``k`` (``t = k - bins // 2``) are the crystals ``a + (t >>
1)`` and ``a - ((t + 1) >> 1) + N / 2``; a plane is a set of ring pairs
(`michelogram.Michelogram`, segments ordered 0, +1, -1, +2, ...; ring difference = second ring -
first). ``scan.endpoints()`` gives both ends of all lines in LPS mm. TOF bin ``b`` is centred at
``(b - (bins - 1) / 2) tof_bin_mm`` from the middle of the line towards its second crystal.
`listmode.ListModeScan` (kind ``pet.listmode``) measures one number per event. Both are `Scan`s:
``grid, domain, range, forward, adjoint, describe()``; ``forward`` is the line integral in (unit
of x) times mm along the mean line of a bin, with TOF kernel and image-space PSF, and nothing
else.

**Model of one acquisition** (`model`), counts per bin::

    expected = scale * multiplicity * normalisation * attenuation * (A x) + randoms + scatter

``x`` in Bq/ml; ``multiplicity`` is the number of crystal pairs in a bin
(`SinogramScan.multiplicity`, 1 for events); `model.scale` is ``sensitivity * seconds * decay *
live_time * positron fraction``. In ``Acquisition.calibration``, all optional, any shape that
broadcasts to the range:

``normalisation``
    detection efficiency, multiplicative, 1 = ideal; 0 = dead.
``attenuation``
    survival probability ``exp(-int mu)``.
``randoms``, ``scatter``
    expected counts per bin.
``sensitivity``
    scalar, counts per second per (Bq/ml mm) of an ideal crystal pair (`Scanner.sensitivity`).
    Without it images are in counts, unit ``1``.
``decay``
    scalar, mean activity during the frame over that at the reference time; 1 where missing.
``live_time``
    scalar, share of the time in which the system was open; 1 where missing.
``sensitivity_image``
    list mode only: ``A^T (multiplicative factors)`` over all lines the scanner has, ``grid.shape``.

Samples are prompts, unit ``{counts}``; facts are DICOM's (``ActualFrameDuration`` in ms,
``FrameReferenceTime``, ``DecayCorrection``, ``RadionuclideHalfLife``, ...).

`model.factors(acquisition)` gives the multiplicative array and `model.background(acquisition)`
the additive one; whoever writes another correction stores it under one of the names above and
nothing else has to change. `results.activity_image` makes the `Image` in Bq/ml.
"""
