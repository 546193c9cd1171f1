"""Operations seen while they are chosen: the visible slice first, the volume behind it.

Each viewer has a process of its own (`worker`) that holds the series and computes slices; a second
one computes the volume once the sliders rest, and is overtaken by the next change. `session`
carries answers to one WebSocket, `routes` lets viewers in and keeps named chains (`presets`).
"""
