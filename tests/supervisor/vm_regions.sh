# vm_regions.sh: what a guest has and has not, bare and under the shim.
. "$(dirname "$0")/vm.sh"
need_kvm
both vm_regions
