"""The loop whose users found the leak: many short sandboxes from one long-lived process.

Usage: sandlock_loop.py [SANDBOXES]. Prints, for the process itself, how many descriptors it held
before and after and what they are, as one JSON object. Knows nothing of boxledger.
"""

import json
import os
import sys
from collections import Counter

from sandlock import Policy, Sandbox

WORK = """
import os
for path in ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat"):
    with open(path, "rb") as f:
        f.read()
with open("/etc/hostname", "rb") as f:
    f.read()
assert len(os.urandom(16)) == 16
with open("/dev/urandom", "rb", buffering=0) as f:
    assert len(f.read(16)) == 16
"""


def held():
    names = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            names[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass  # the descriptor of the listing itself
    return names


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    # The interpreter itself, not a wrapper script around it; isolated, so that it reads little.
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", WORK]
    policy = Policy(
        fs_readable=["/"],
        hostname="box",
        random_seed=42,
        num_cpus=2,
        max_memory="512M",
    )
    before = held()
    failed = 0
    for _ in range(count):
        result = Sandbox(policy).run(command)
        if not result.success:
            failed += 1
            sys.stderr.write(f"sandbox failed: {result!r}\n")
    after = held()
    left = Counter(name for fd, name in after.items() if fd not in before)
    json.dump(
        {
            "sandboxes": count,
            "failed": failed,
            "before": len(before),
            "after": len(after),
            "left": dict(left.most_common()),
        },
        sys.stdout,
        indent=1,
    )
    print()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
