# vm_fails_anywhere.sh: whichever call fails, nothing is left, bare and under the shim.
. "$(dirname "$0")/vm.sh"
need_kvm
both vm_fails_anywhere
