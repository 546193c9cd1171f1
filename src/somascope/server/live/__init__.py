"""Live pictures: a source that never stops, operations on every frame, the newest to the browser.

Each viewer has a process of its own (`worker`), which captures, runs the chain and never queues:
it works on the newest frame when the browser has drawn the ones before. `session` carries frames
from that process to one WebSocket, `routes` lets viewers in.
"""
