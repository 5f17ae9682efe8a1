#!/bin/sh
# anyio's and Starlette's own suites with the plain selector and with ours (idle, busy), debug off and on.
# libraries.sh WORKDIR OUTDIR: WORKDIR holds the unpacked sdists and virtualenvs named v3.*; see docs/decisions/004.
here=$(cd "$(dirname "$0")" && pwd)
work=$1
out=$2
mkdir -p "$out"
run() { # venv suite filter mode debug
    log=$out/$(basename "$1")-$2-$4${5:+-debug}.txt
    (cd "$work"/$2-* && PYTHONPATH=$here:. PYTHONDONTWRITEBYTECODE=1 PYTHONASYNCIODEBUG=$5 \
        EXPERIMENT_PLAIN=$([ "$4" = plain ] && echo 1) EXPERIMENT_BUSY=$([ "$4" = busy ] && echo 1) \
        nice -n 15 timeout 900 "$1/bin/python" -m pytest -q -p engine_plugin --no-header -rfE --tb=line \
        -p no:unraisableexception -p no:cacheprovider -W ignore::ResourceWarning -k "$3" tests) >"$log" 2>&1
    echo "$(basename "$1") $2 $4${5:+ debug}: $(grep -E '(passed|failed).* in ' "$log" | tail -1), $(grep 'selectors made' "$log")"
    grep -E '^(FAILED|ERROR) ' "$log" | sed 's/ - .*//' | sort -u >"$log.bad"
    # What fails with the plain selector too (no IPv6 here, say) is not ours.
    comm -13 "$(echo "$log.bad" | sed 's/-\(engine\|busy\)/-plain/')" "$log.bad" | sed 's/^/    only here: /'
}
for venv in "$work"/v3.*; do
    for mode in plain engine busy; do
        run "$venv" anyio "asyncio and not uvloop and not trio" $mode 1
    done
    for debug in "" 1; do
        for mode in plain engine busy; do
            run "$venv" starlette "not trio" $mode $debug
        done
    done
done
