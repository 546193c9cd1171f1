"""Ultrasound: from the echoes each element received to B-mode, flow and stiffness."""
