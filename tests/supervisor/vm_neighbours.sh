# vm_neighbours.sh: memory that is mapped apart can always be unmapped, bare and under the shim.
. "$(dirname "$0")/vm.sh"
both vm_neighbours
