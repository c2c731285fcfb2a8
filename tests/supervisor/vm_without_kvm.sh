# vm_without_kvm.sh: without /dev/kvm, or without permission for it, `boxsup vm` says so in one line
# and exits with the status for what is not supported here.
. "$(dirname "$0")/vm.sh"

shown=0
cp -L "$driver" "$work/driver"
driver=$work/driver

if [[ ! -e /dev/kvm ]]; then
    refuses $unsupported "/dev/kvm: No such file or directory"
    shown=1
elif [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
    refuses $unsupported "/dev/kvm: Permission denied"
    shown=1
fi

# as PREFIX...: `refuses` with a program that runs it in some other way.
as() {
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$*" "$work/driver" >"$work/as"
    chmod 755 "$work/as"
    driver=$work/as
}

if [[ $(id -u) -eq 0 ]]; then
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    if "${nobody[@]}" test -e /dev/kvm && ! "${nobody[@]}" test -w /dev/kvm; then
        as "${nobody[@]}"
        refuses $unsupported "/dev/kvm: Permission denied"
        shown=1
    fi
    # A tmpfs over /dev, in a mount namespace of its own.
    hidden="unshare --mount sh -c 'mount -t tmpfs none /dev && exec \"\$0\" \"\$@\"'"
    if eval "$hidden true" 2>/dev/null; then
        as "$hidden"
        refuses $unsupported "/dev/kvm: No such file or directory"
        shown=1
    fi
fi
((shown)) || skip "/dev/kvm can be used here, and cannot be hidden"
