# gate_suppressions.sh: what a suppression or a rule leaves out is no finding of the gate, and no
# part of a baseline; --max-leaked lets so much pass beyond what is known, and nothing but leaks.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"

echo 'leak:keep_descriptor' >"$work/supp"
gate 0 --suppressions="$work/supp" -- "$sandboxes" keeps_fd=2
says 'Suppressions used'
says 'gate clean'
gate 1 --suppressions="$work/supp" -- "$sandboxes" keeps_fd=2 keeps_map=1
says 'gate failed: 1 new'
says_not 'New: 2 descriptors'
echo 'leak:keep_descriptor max:2' >"$work/supp"
gate 0 --suppressions="$work/supp" -- "$sandboxes" keeps_fd=2
gate 1 --suppressions="$work/supp" -- "$sandboxes" keeps_fd=3
echo 'leak:never_called' >"$work/supp"
gate 1 --suppressions="$work/supp" -- "$sandboxes" keeps_fd=1
says 'matched nothing: leak:never_called'
echo 'ignore stack=keep_descriptor' >"$work/rules"
gate 0 --rules="$work/rules" -- "$sandboxes" keeps_fd=2

echo 'leak:keep_descriptor' >"$work/supp"
gate 0 --suppressions="$work/supp" --baseline="$work/known.json" --update-baseline -- \
    "$sandboxes" keeps_fd=2 keeps_map=1
says 'has 1 finding now'
gate 1 --baseline="$work/known.json" -- "$sandboxes" keeps_fd=2 keeps_map=1
says 'gate failed: 1 new, 1 known'

# --- So much may be left behind: by all findings together, beyond the baseline.
gate 0 --max-leaked=3 -- "$sandboxes" keeps_fd=2 keeps_map=1
says 'gate clean: 2 allowed'
gate 1 --max-leaked=2 -- "$sandboxes" keeps_fd=2 keeps_map=1
says 'gate failed: 2 new'
gate 1 --max-leaked=1000 -- "$sandboxes" keeps_fd=2 twice=1
says 'gate failed: 1 new, 1 allowed'
gate 1 --max-leaked=1000 -- "$sandboxes" grows=20
gate 0 --max-leaked=2 --baseline="$work/known.json" -- "$sandboxes" keeps_map=3
says 'gate clean: 1 allowed'
gate 1 --max-leaked=1 --baseline="$work/known.json" -- "$sandboxes" keeps_map=3
says 'gate failed: 1 grown'
