"""What MONAI Label's clients (3D Slicer, its Python client) ask of a server; not ``/auth/token``,
``/scoring``, ``/batch`` and ``/logs``.

Reachable at ``/api/monailabel``, behind the same token as everything else. An answer of a model is
no label until a client sends it back as one.
"""
