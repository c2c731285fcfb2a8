# gate_sarif_schema.sh: SARIF reports are valid by the schema that OASIS publishes, as an npm package
# carries it.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
package=@microsoft/jest-sarif@1.0.0-beta.0
schema=$work/package/lib/schemas/sarif-2.1.0-rtm.5.json

need_tool npm
python3 -c 'import jsonschema' 2>"$work/null" || skip "python3-jsonschema is not installed"
(cd "$work" && timeout 60 npm pack --silent --fetch-retries=1 --fetch-timeout=20000 "$package") \
    >"$work/npm" 2>&1 || skip "npm has no $package, with the schema: $(tail -n 1 "$work/npm")"
tar -xzf "$work"/*.tgz -C "$work"
[[ -s $schema ]] || skip "no schema in $package"

valid() {
    python3 - "$schema" "$work/report.sarif" <<'END' || fail "$*: not valid SARIF"
import json, sys, jsonschema
with open(sys.argv[1], encoding="utf-8") as schema, open(sys.argv[2], encoding="utf-8") as report:
    schema, report = json.load(schema), json.load(report)
validator = jsonschema.validators.validator_for(schema)(schema)
wrong = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
         for error in validator.iter_errors(report)]
print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
# A validator that takes everything would say nothing.
report["runs"][0]["results"] = 3
sys.exit(1 if wrong or validator.is_valid(report) else 0)
END
}
report=(--report="$work/report.sarif")
gate 0 "${report[@]}" -- "$sandboxes" clean=2
valid clean
gate 1 "${report[@]}" -- "$sandboxes" keeps_fd=4 keeps_map=2 twice=1 grows=20
valid findings
gate 0 --baseline="$work/known" --update-baseline "${report[@]}" -- "$sandboxes" keeps_fd=4 twice=1
valid known
gate 1 --baseline="$work/known" "${report[@]}" -- "$sandboxes" keeps_fd=5 keeps_other=1
valid grown and gone
gate 0 --max-leaked=5 --repeat=2 "${report[@]}" -- "$sandboxes" keeps_fd=5
valid allowed
gate 3 "${report[@]}" -- "$sandboxes" keeps_fd=5 signal=11
valid killed
gate 3 "${report[@]}" -- "$programs/static_program"
valid never watched
cp "$sandboxes" "$work/"$'odd\xff\x01<&"'
gate 1 "${report[@]}" -- "$work/"$'odd\xff\x01<&"' keeps_fd=5
valid a name that is none
