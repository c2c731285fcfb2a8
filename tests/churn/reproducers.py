"""reproducers.py: the table of reproducers: one for each defect of boxsup, by its row of the field.

A reproducer is a churn of sandboxes with one defect switched on, under limits so low that it ends
within seconds. reproduce.py runs each four times: bare, it must end as documented; under
`boxledger run`, the report must have these findings; with the policy that helps it must get to its
end within the same limits; without the defect the report must be silent. And each must be able to
fail: without any one of its detections there must be no such finding.
"""
from dataclasses import dataclass, field

NO_POLICY = "none: there is nothing to give back"


@dataclass
class Finding:
    """What a report must have: a verdict on a stack with that function among its innermost."""
    verdict: str
    resource: str
    function: str
    per_sandbox: float | None = None

    def text(self):
        each = "" if self.per_sandbox is None else f" {self.per_sandbox:g} per sandbox,"
        thing = {"fd": "descriptor", "mapping": "mapping"}[self.resource]
        if self.verdict == "refused":
            thing = "munmap"
        return f"{self.verdict} {thing},{each} `{self.function}`"


@dataclass
class Reproducer:
    name: str  # of the defect
    row: str  # of the field
    arguments: list  # of boxsup, but for the defect
    ends: str  # what it says when it ends bare, a regular expression
    end: str  # the same for people
    finds: list = field(default_factory=list)
    detections: list = field(default_factory=list)  # faults without any of which it is not found
    policy: list = field(default_factory=list)  # options that help
    fds: int | None = None  # RLIMIT_NOFILE
    address_space: int | None = None  # RLIMIT_AS, in KiB
    status: int = 125  # of the bare run: boxsup's own failure
    needs_kvm: bool = False
    # Nothing is taken and kept: what boxledger says of it, where it can say something.
    unfound: str = ""
    fixed_status: int = 0
    fixed_says: str = ""  # as `ends`, without the defect

    def count(self):
        """Sandboxes that it runs."""
        counts = [a.split("=")[1] for a in self.arguments if a.startswith("--count=")]
        return int(counts[0]) if counts else 1


CHURN = ["churn", "--count=300"]
FDS = 64
ADDRESS_SPACE = 64 << 10
RECLAIM = ["reclaim=1", "settle_ms=0", "quarantine_fds=8"]
RECLAIM_MEMORY = ["reclaim=1", "settle_ms=0", "quarantine_bytes=1M"]

OF_THE_COPY = "nothing: the copy goes with its sandbox"
WRITES = """
import os, sys
os.write(os.open(sys.argv[1], os.O_RDONLY), b"x")
print("written")
"""
READS = """
import sys
print(len(open(sys.argv[1], "rb").read()))
"""
CHANGES = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
with open(sys.argv[1], "w") as file:
    file.write("changed since")
os.fstat(fd)
print(os.read(fd, 100))
"""


def keeps_descriptors(name, functions, *arguments):
    finds = [Finding("leaked", "fd", function, each) for function, each in functions]
    return Reproducer(name, "F5", CHURN + list(arguments), r"Too many open files",
                      f"EMFILE ({FDS} descriptors)", finds, ["end_unsaid", "leaked_fds_unsaid"],
                      RECLAIM, fds=FDS)


def vms(count):
    return ["churn", "--kind=vm", f"--count={count}"]


def keeps_mappings(name, each, count):
    return Reproducer(name, "F1", vms(count), r"Cannot allocate memory",
                      f"ENOMEM ({ADDRESS_SPACE >> 10} MiB of addresses)",
                      [Finding("leaked", "mapping", "vm_map_descriptor_cow", each)],
                      ["end_unsaid", "scopes_unsaid", "leaked_maps_unsaid"], RECLAIM_MEMORY, address_space=ADDRESS_SPACE, needs_kvm=True)


REPRODUCERS = [
    keeps_mappings("cow-map-leak", 1, 500),
    keeps_mappings("slot-only-unmap", 1, 700),
    keeps_mappings("restore-leak", 1, 1200),
    Reproducer("shared-gap-hints", "F2", vms(200),
               r"guest address of a mapped file is 0x[0-9a-f]+ where 0x[0-9a-f]+ is right",
               "a wrong guest address", needs_kvm=True,
               unfound="nothing: no resource is kept; boxsup checks its own addresses"),
    Reproducer("merge-trap", "F3", vms(300), r"munmap of 4096 bytes: Cannot allocate memory",
               "ENOMEM of munmap (65,530 VMAs)",
               [Finding("refused", "mapping", "owned_map_unmap")], ["refusal_unsaid"],
               ["placement=1"], needs_kvm=True),
    keeps_descriptors("addfd-leak-proc", [("virtual_answer_proc", 1), ("proc_answer_open", 1)]),
    keeps_descriptors("addfd-leak-hostname", [("virtual_answer_hostname", 1)]),
    keeps_descriptors("addfd-leak-random", [("virtual_answer_random", 1)]),
    keeps_descriptors("addfd-leak-cow", [("cow_answer_open", 1)], "--cow={work}/files", "--", "cp",
                      "/etc/passwd", "{work}/files/copy"),
    keeps_descriptors("addfd-leak-root", [("redirect_answer_open", None)], "--root=/"),
    keeps_descriptors("addfd-leak-root-directory", [("redirect_answer_open", None)], "--root=/",
                      "--", "ls", "/"),
    Reproducer("shadow-unsealed", "F4",
               ["run", "--shadow={work}/files", "--", "python3", "-c", WRITES, "{work}/files/text"],
               r"^written$", "a copy that can be written", status=0, unfound=OF_THE_COPY,
               fixed_status=1, fixed_says=r"Bad file descriptor|Operation not permitted"),
    Reproducer("shadow-unbounded", "F4",
               ["run", "--shadow={work}/files", "--shadow-cap=1M", "--shadow-budget=1M", "--",
                "python3", "-c", READS, "{work}/files/large"],
               r"^4194304$", "a copy of 4 MiB where 1 MiB is allowed", status=0,
               unfound=OF_THE_COPY, fixed_status=1, fixed_says=r"File too large"),
    Reproducer("shadow-stale-silent", "F4",
               ["run", "--shadow={work}/files", "--write={work}/files", "--", "python3", "-c",
                CHANGES, "{work}/files/text"],
               r"\Ab'original'\n\Z", "an old copy, and nobody is told", status=0,
               unfound=OF_THE_COPY, fixed_says=r"text is stale: modified"),
    Reproducer("pipe-no-cloexec", "F5", ["churn", "--count=300", "--jobs=4"],
               r"^300 done", "others' pipes in the sandboxes", status=0,
               finds=[Finding("inheritable", "fd", "make_channels")],
               detections=["child_unseen", "inheritable_unseen"]),
    Reproducer("short-read", "F5", ["run", "--", "{work}/nothing"], r"\A\Z",
               "the reason of a failure is lost", unfound="nothing: no resource is kept",
               fixed_status=126, fixed_says=r"Exec format error"),
]

# On supervisors that nobody here wrote: tests/real runs them, in the same four runs, and says with
# `reproduce.py --passed NAME` that all went like this.
REAL = {
    "sandlock 0.4.6": {
        "field": "F5", "bare": "EMFILE (256 descriptors)",
        "reported": "leaked descriptor, 2 + 1 per sandbox, `send_response`",
        "policy": "`reclaim`: all 300 sandboxes",
        "fixed": "0.4.7: nothing left behind by 20 sandboxes"},
    "hyperlight-host 0.13.0": {
        "field": "F1", "bare": "a VMA for each call (ENOMEM at 65,530)",
        "reported": "leaked mapping, 1 per sandbox, `map_file_cow`",
        "policy": "`reclaim`: all 20,000 calls",
        "fixed": "unmapped by the driver: nothing left behind by 100 sandboxes"},
}
