# found_child.sh: a child's pidfd, what comes through it and its files under /proc are found where
# they are left behind, and what becomes more with the number of children.
# shellcheck source=tests/owners/found.sh
. "$(dirname "$0")/found.sh"
found child_pidfd child_fetched child_proc_status
grows leak-once child
