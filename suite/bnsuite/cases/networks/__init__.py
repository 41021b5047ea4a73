"""The networks of the trainings: frozen values, and torch modules once they are built."""

from bnsuite.cases.networks.cnn import Cnn
from bnsuite.cases.networks.mlp import Init, Mlp
from bnsuite.cases.networks.network import Network
from bnsuite.cases.networks.norm import Norm
from bnsuite.cases.networks.recurrent import Lstm
from bnsuite.cases.networks.vision import Vision

__all__ = ["Cnn", "Init", "Lstm", "Mlp", "Network", "Norm", "Vision"]
