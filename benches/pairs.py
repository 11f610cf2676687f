"""Times two functions in turn, so that what else the machine does falls on both."""

import json
import statistics
import time


def alternate(ours, peer, seconds=10.0, rounds=5):
    """Seconds of each call of `ours` and `peer`, called in turn after one warm-up each."""
    ours(), peer()
    mine, theirs = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(mine) < rounds:
        for call, times in ((ours, mine), (peer, theirs)):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
            # A peer that spins while it waits for more work must not do so in the other's time.
            time.sleep(0.1)
    return mine, theirs


def report(bench, unit, mine, theirs, peer, amount=1, **more):
    """Prints a JSON line of two series of seconds; `amount` units are done in each call."""
    ours_s, peer_s = statistics.median(mine), statistics.median(theirs)
    line = {
        "bench": bench,
        "unit": unit,
        "outcrop": round(amount / ours_s, 2),
        peer: round(amount / peer_s, 2),
        "ratio": round(peer_s / ours_s, 3),
        "repetitions": len(mine),
        **more,
    }
    print(json.dumps(line), flush=True)
