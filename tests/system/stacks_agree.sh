#!/usr/bin/env bash
# The stacks in the ledger are libunwind's.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

[[ -x $programs/stacks_agree ]] || skip "built without libunwind, which is the oracle"
both stacks_agree
