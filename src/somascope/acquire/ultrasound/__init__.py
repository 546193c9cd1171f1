"""Ultrasound: from the echoes each element received to B-mode, flow and stiffness.

The room's contract:

* Coordinates are those of the picture and of the probe alike, LPS mm: **x lateral** (element 0 at
  the least x, the picture's left), **y depth**, **z elevation**; the middle of the probe's face is
  the origin. A plane has ``nz = 1``. Times are s, frequencies Hz, the speed of sound m/s.
* `probe.Probe` says where elements are (`probe.linear, convex, matrix, named`);
  `transmit.Transmits` which waves were sent (`transmit.plane, diverging, focused, synthetic,
  fired`), with the arrival of each wave at any point and the firing time of each element.
* Channel data is an `Acquisition` of modality ``US`` whose operator is a
  `channels.ChannelScan` (kind ``us.channels``): samples ``(frames?, transmits, elements, time)``,
  RF real (float32) where ``demodulation_frequency`` is 0, else IQ complex64 with
  ``IQ(t) = LP[2 RF(t) exp(-2 pi i fd t)]``, t on the transmits' clock. ``scan.start`` is the time
  of sample 0; ``scan.times`` the time of each frame (None: no frame axis).
* `beamform.das` makes the complex image (complex64, unit 1, axes ``(t?, z, y, x)``) on the scan's
  grid: the analytic echo with its carrier, ``exp(-2 pi i fd tau)`` turned back, so that frames
  may be compared in phase (Doppler): a scatterer moving away by ``d`` turns it by
  ``-4 pi fd d / c``. With ``compound=False`` there is an axis ``transmit`` before z.
* `simulate.echoes(scan, points, amplitudes)` makes channel data of scatterers, moving ones too
  (``points (frames, n, 3)`` mm); `simulate.simulate` is the published operation.
* `envelope`, `bmode` and `convert` take the complex image to decibels and to the screen.
"""
