"""Tables as lists of dictionaries and dictionaries for JSON, without pandas."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import sipmi
from sipmi.statistics import to_frame, to_rows
from sipmi.testing import FakeOpenSIPS


def test_tables_are_lists_of_dictionaries_and_frames_have_the_same_rows() -> None:
    pandas = pytest.importorskip("pandas")
    with FakeOpenSIPS("4.0") as opensips, opensips.connect() as mi:
        reading = mi.statistics("core:")
        change = mi.statistics("core:") - reading
        samples = list(mi.watch(["core:rcv_requests"], count=1))
        result = sipmi.Fleet({"a": mi.address, "gone": "udp:127.0.0.1:1"}).call("get_statistics", ["rcv_requests"])
        diagnosis = sipmi.doctor(mi.address)
    row = {"statistic": "core:rcv_requests", "value": 0, "unit": "requests", "kind": "counter"}
    assert row in reading.to_rows()
    assert {**row, "change": 0, "rate": 0.0} in change.to_rows()
    assert [(*row,) for row in to_rows(samples)] == [("time", "core:rcv_requests")]
    assert [row["node"] for row in result.to_rows()] == ["a", "gone"]
    assert result.to_rows()[0]["core:rcv_requests"] == 0
    assert diagnosis.to_rows()[0]["level"] in ("ok", "hint", "problem")
    for thing, index in [(reading, "statistic"), (change, "statistic"), (result, "node")]:
        frame = thing.to_frame().reset_index()
        assert list(frame[index]) == [row[index] for row in thing.to_rows()]
    assert to_frame(samples).index.equals(pandas.DatetimeIndex([row["time"] for row in to_rows(samples)]))
    for thing in (reading, change, samples[0], result, diagnosis, diagnosis.findings[0]):
        assert json.loads(json.dumps(thing.to_dict())) == thing.to_dict()


def test_rows_need_no_pandas() -> None:
    script = (
        "import sys; sys.modules['pandas'] = None\n"
        "from sipmi.statistics import Reading, Value, to_rows\n"
        "reading = Reading({'a:b': Value(5, 'a:b')}, address='udp:192.0.2.1:8080', time=0.0)\n"
        "print(reading.to_rows(), to_rows([reading]))\n"
        "try: reading.to_frame()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "'statistic': 'a:b', 'value': 5" in done.stdout
    assert done.stdout.endswith("tables need pandas: pip install 'sipmi[notebook]'\n")
