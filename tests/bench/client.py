"""One Python client in a closed loop: `client.py sipmi|opensips ADDRESS COMMAND --seconds S`.

It prints what the Rust client prints: one line of JSON with calls a second and the time of a call.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Callable


def sipmi_caller(address: str, command: str) -> Callable[[], Any]:
    import sipmi

    client = sipmi.connect(address, wire="jsonrpc", timeout=3.0)
    return lambda: client.call(command)


def opensips_caller(address: str, command: str) -> Callable[[], Any]:
    from opensips.mi import OpenSIPSMI

    scheme, rest = address.split(":", 1)
    if scheme == "http":
        mi = OpenSIPSMI(conn="http", url=address)
    elif scheme == "udp":
        host, port = rest.rsplit(":", 1)
        mi = OpenSIPSMI(conn="datagram", datagram_ip=host, datagram_port=port, datagram_timeout=3.0)
    elif scheme == "unix":
        mi = OpenSIPSMI(conn="datagram", datagram_unix_socket=rest, datagram_timeout=3.0)
    else:
        path, _, reply_dir = rest.rpartition("?reply_dir=")
        mi = OpenSIPSMI(conn="fifo", fifo_file=path, fifo_file_fallback=path, fifo_reply_dir=reply_dir)
    return lambda: mi.execute(command)


#: Calls before those that count.
WARM_UP = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description="One Python client in a closed loop.")
    parser.add_argument("kind", choices=["sipmi", "opensips"])
    parser.add_argument("address")
    parser.add_argument("command")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    caller = {"sipmi": sipmi_caller, "opensips": opensips_caller}[options.kind]
    call = caller(options.address, options.command)
    expected = call()
    clock = time.perf_counter
    times: list[float] = []
    errors = wrong = 0
    first_error = ""
    start = clock() + WARM_UP
    while clock() < start:
        call()
    begun = start = clock()
    end = start + options.seconds
    while begun < end:
        try:
            if call() != expected:
                wrong += 1
        except Exception as error:
            errors += 1
            first_error = first_error or repr(error)
        done = clock()
        times.append(done - begun)
        begun = done
    times.sort()
    figures = {
        "rates": [(len(times) - errors - wrong) / (begun - start)],
        "cpu_us": 0.0,
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[len(times) * 99 // 100] * 1e6,
        "errors": errors,
        "wrong": wrong,
        "first_error": first_error,
    }
    print(json.dumps([figures]))


if __name__ == "__main__":
    main()
