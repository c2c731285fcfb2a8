"""sandlock as a peer of bench_boxsup.py: does in its sandboxes what it is told, by one process.

Reads lines: `time COMMAND...` answers with the milliseconds from start to end of one sandbox; `run
COMMAND...` with what the command printed, on one line. Knows nothing of boxsup.
"""

import shlex
import sys
import time

from sandlock import Policy, Sandbox


def main():
    policy = Policy(fs_readable=["/"], num_cpus=2)
    for line in sys.stdin:
        what, *command = shlex.split(line)
        began = time.perf_counter()
        result = Sandbox(policy).run(command)
        ms = (time.perf_counter() - began) * 1000
        if not result.success:
            sys.exit(f"sandlock: {command}: {result!r}")
        text = result.stdout
        text = text.decode() if isinstance(text, bytes) else text
        print(ms if what == "time" else " ".join(text.split()), flush=True)


main()
