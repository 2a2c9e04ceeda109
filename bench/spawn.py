"""The floor of `exec`: `python -m bench.spawn COUNT THREADS` runs `true` so often and prints seconds as JSON."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def once(_: int) -> float:
    """Run it as the agent does: a session of its own, its output read."""
    began = time.perf_counter()
    subprocess.run(
        ["true"], stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=True
    )
    return time.perf_counter() - began


def main(count: int, threads: int) -> None:
    """Run and print."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        each = list(pool.map(once, range(count)))
        print(json.dumps({"each": each, "all": time.perf_counter() - began}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
