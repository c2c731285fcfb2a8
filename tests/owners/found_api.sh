# found_api.sh: what a thread takes within its sandbox, and what is assigned to one, is found where
# it is left behind; without sandboxes, what becomes more from mark to mark.
# shellcheck source=tests/owners/found.sh
. "$(dirname "$0")/found.sh"
found api_memfd api_mapping api_assigned_fd api_assigned_mapping
grows leak-once mark
