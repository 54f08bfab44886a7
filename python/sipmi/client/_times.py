"""The times in the values of commands, as ``typed=True`` returns them."""

from __future__ import annotations

import datetime
from typing import Any, Callable, Optional, Union

from .._core import reply_times

#: A zone, or its name in the database of zones; None: the zone of this machine.
Zone = Union[datetime.tzinfo, str, None]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Read = Callable[[Any, Optional[datetime.tzinfo]], Any]


def zone_of(zone: Zone) -> Optional[datetime.tzinfo]:
    """Return the zone of an option.

    :raises ValueError: the database has no zone of this name.
    """
    if not isinstance(zone, str):
        return zone
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"expected a time zone, found {zone!r}: {error}") from None


def with_times(command: str, value: Any, zone: Optional[datetime.tzinfo]) -> Any:
    """Replace the times in a value of ``call`` by datetimes and timedeltas.

    A time that cannot be read stays unchanged. Servers do not tell their zone, so their clocks are read in this one.

    >>> import datetime
    >>> times = with_times("uptime", {"Now": "Mon Nov 23 07:35:59 2026", "Up time": "249 [sec]"}, datetime.timezone.utc)
    >>> print(times["Now"], times["Up time"])
    2026-11-23 07:35:59+00:00 0:04:09
    """
    table = {member: _READERS[notation] for member, notation in reply_times(command).items()}
    return _read(value, table, zone) if table else value


def _read(value: Any, table: dict[str, Read], zone: Optional[datetime.tzinfo]) -> Any:
    if isinstance(value, list):
        return [_read(item, table, zone) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        read = table.get(name)
        try:
            found[name] = _read(item, table, zone) if read is None else read(item, zone)
        except (ValueError, TypeError, OverflowError, IndexError):
            found[name] = item
    return found


def _clock(value: Any, zone: Optional[datetime.tzinfo]) -> datetime.datetime:
    """``Mon Nov 23 07:35:59 2026``, in English whatever the locale."""
    _, month, day, time, year = value.split()
    hour, minute, second = map(int, time.split(":"))
    return _in(datetime.datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second), zone)


def _date(value: Any, zone: Optional[datetime.tzinfo]) -> Optional[datetime.datetime]:
    """``2026-11-23 07:46:11``; a dialog that has not begun has the beginning of time."""
    if value.startswith("1970-01-01"):
        return None
    return _in(datetime.datetime.strptime(value, "%Y-%m-%d %H:%M:%S"), zone)


def _moment(value: Any, zone: Optional[datetime.tzinfo]) -> Optional[datetime.datetime]:
    """Seconds since 1970; 0 is never."""
    return datetime.datetime.fromtimestamp(int(value), datetime.timezone.utc).astimezone(zone) if int(value) else None


def _duration(value: Any, _: Optional[datetime.tzinfo]) -> datetime.timedelta:
    """``249 [sec]``."""
    return datetime.timedelta(seconds=int(value.removesuffix(" [sec]")))


def _in(naive: datetime.datetime, zone: Optional[datetime.tzinfo]) -> datetime.datetime:
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)


#: How to read each notation that the catalog names.
_READERS: dict[str, Read] = {"clock": _clock, "date": _date, "moment": _moment, "duration": _duration}
