#!/bin/sh
# CPython's test_asyncio with the plain selector and with ours, idle and busy, debug off and on, on every Python given.
# suites.sh OUTDIR PYTHON...; results: one line per run, failures listed. One at a time, nice.
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
mkdir -p "$out"
for python in "$@"; do
    version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    for debug in "" 1; do
        for how in plain engine busy; do
            log="$out/$version-$how${debug:+-debug}.txt"
            kind=$how
            busy=
            [ "$how" = busy ] && kind=engine && busy=1
            start=$(date +%s)
            (cd "$out" && PYTHONASYNCIODEBUG=$debug EXPERIMENT_BUSY=$busy nice -n 10 timeout 600 \
                "$python" "$here/run_suite.py" $kind -v test_asyncio) >"$log" 2>&1
            echo "$version $how${debug:+ debug}: status $?, $(grep -E '^(Ran|Total tests)' "$log" | tail -1), $(($(date +%s) - start)) s"
            grep -E '^(FAIL|ERROR): ' "$log" | sort -u | sed 's/^/    /'
        done
    done
done
