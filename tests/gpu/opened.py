"""Commands and trainers on stand-ins for GPUs: each rank opens one of its own."""

from mpitrain.device import CPU, VisibleGpus
from mpitrain.training import devices
from tests.gpu.device import ShimDevice

GPUS = {"auto": ("a GPU",), "cuda": ("a GPU",), "cpu": ()}


class Opened:
    """Opens a stand-in for the GPU of this rank wherever a run asks for its device; ``device`` is the last one."""

    def __init__(self, monkeypatch):
        self.device = None
        monkeypatch.setattr(devices, "discover", lambda asked, node: VisibleGpus(node, GPUS[asked], ""))
        monkeypatch.setattr(devices, "open_device", self.open)

    def open(self, place, precision="fp32"):
        if place.number is None:
            return CPU
        self.device = ShimDevice()
        self.device.precision = precision
        return self.device
