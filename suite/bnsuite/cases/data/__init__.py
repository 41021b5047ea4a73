"""The data sets of the trainings: made or fetched once, handed to the measured processes as files."""

from bnsuite.cases.data.files import STAGE_VARIABLE, Split, load, stage
from bnsuite.cases.data.images import DataError
from bnsuite.cases.data.sets import SETS, TRAINED_ON, to_download

__all__ = ["SETS", "STAGE_VARIABLE", "TRAINED_ON", "DataError", "Split", "load", "stage", "to_download"]
