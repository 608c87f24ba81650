"""Fetching data sets by name: COCO 2017 and MPII, into COCO's layout."""

from calbook.data.download.get import get
from calbook.data.download.sets import SETS, Archive, DataSet, Part
from calbook.data.download.transfer import Patience, fetch

__all__ = ["SETS", "Archive", "DataSet", "Part", "Patience", "fetch", "get"]
