# vm_snapshots.sh: a restore brings back and releases, bare and under the shim.
. "$(dirname "$0")/vm.sh"
need_kvm
both vm_snapshots
