"""Feldkamp's reconstruction on a GPU; on the CPU it is `acquire.ct.fdk`."""
