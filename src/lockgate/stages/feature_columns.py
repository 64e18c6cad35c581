"""Columns of a frame in the form that `lockgate.core` takes, made one at a time: millions of rows fit once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.columns import MISSING_STRING, Coded, Column
from lockgate.core.spec import ReleaseSpec

if TYPE_CHECKING:
    import pandas as pd


class FeatureColumns(Mapping[str, Column]):
    """The features of a frame by name: float64 with NaN for numbers, codes for strings. Made anew when asked for."""

    def __init__(self, frame: pd.DataFrame, spec: ReleaseSpec) -> None:
        self._frame = frame
        self._numeric = frozenset(spec.data.numeric)
        self._names = spec.data.features

    def __getitem__(self, name: str) -> Column:
        """Return one feature's column."""
        if name not in self._names:
            raise KeyError(name)
        series = self._frame[name]
        return _numbers(series) if name in self._numeric else coded_series(series)

    def __iter__(self) -> Iterator[str]:
        """Yield the names, numeric ones first."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of features."""
        return len(self._names)


def feature_columns(frame: pd.DataFrame, spec: ReleaseSpec) -> Mapping[str, Column]:
    """Return the features of a frame, each made when it is asked for.

    The form that `core.drift` and `core.leakage` take; what the champion's profile was made from must be in it too.
    """
    return FeatureColumns(frame, spec)


def coded_series(series: pd.Series) -> Coded:
    """Return a column of strings as codes, without an object for each row.

    Raises:
        TypeError: The column holds numbers.
    """
    codes, found = series.factorize()
    values = tuple(str(each) for each in found)
    codes = codes.astype(np.int32)
    if MISSING_STRING in values:
        place = values.index(MISSING_STRING)
        codes[codes == place] = -1
    return Coded(codes=codes, values=values)


def _numbers(series: pd.Series) -> Column:
    if series.dtype == np.float64:
        return np.asarray(series.to_numpy())
    return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
