"""Many short sandboxes from one long-lived process, each of which says who it is.

Usage: sandlock_flat.py SANDBOXES. Prints a line for each sandbox: its number, whether it told what
only it could tell, and how many descriptors the process held after it. Ends at the first that
fails. Knows nothing of boxledger.
"""

import os
import sys

from sandlock import Policy, Sandbox

# What it reads are files that its supervisor makes up for it: they must be whole, and its own.
WORK = """
import os, sys
with open("/proc/cpuinfo") as f:
    cpus = sum(line.startswith("processor") for line in f)
with open("/dev/urandom", "rb", buffering=0) as f:
    some = len(f.read(16))
with open("/proc/meminfo") as f:
    memory = f.readline().split()[0]
print(sys.argv[1], cpus, some, memory)
"""


def main():
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", WORK]
    policy = Policy(
        fs_readable=["/"], hostname="box", random_seed=42, num_cpus=2, max_memory="512M"
    )
    for number in range(int(sys.argv[1])):
        name = f"sandbox-{number}"
        result = Sandbox(policy).run([*command, name])
        told = result.stdout if isinstance(result.stdout, str) else result.stdout.decode()
        right = result.success and told.split() == [name, "2", "16", "MemTotal:"]
        print(number + 1, int(right), len(os.listdir("/proc/self/fd")) - 1, flush=True)
        if not right:
            sys.stderr.write(f"{name}: {result!r}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
