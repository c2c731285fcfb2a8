# found_seccomp.sh: what is taken while a sandbox's notification is answered, what is injected into
# it though nobody saw it made, and its listener are found where they are left behind.
# shellcheck source=tests/owners/found.sh
. "$(dirname "$0")/found.sh"
found seccomp_memfd seccomp_file seccomp_unseen_memfd seccomp_listener_sent seccomp_scratch
