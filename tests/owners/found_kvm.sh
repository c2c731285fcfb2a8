# found_kvm.sh: what is a VM's is found where it is left behind: its parts, what its slots map, also
# while it lives on, and the eventfds that it signals.
# shellcheck source=tests/owners/found.sh
. "$(dirname "$0")/found.sh"
found kvm_vcpu kvm_run_map kvm_memory kvm_restored_alive kvm_irqfd
