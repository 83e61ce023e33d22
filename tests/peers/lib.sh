# shellcheck shell=bash
# What tests/asterisk/run and tests/sipp/run share: programs started here and ended by their pid, ports watched, results
# counted. Source it from the repository's root. Nothing beyond bash, coreutils, awk and /proc is needed.

passed=0
failed=0
started=()

# ok NAME | not_ok NAME WHY: one line for each check; `verdict PART` sums them up and is the exit code.
ok() {
    passed=$((passed + 1))
    echo "ok      $1"
}
not_ok() {
    failed=$((failed + 1))
    echo "FAILED  $1: $2"
}
verdict() {
    echo "$1: $passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# start LOG COMMAND…: runs it in the background; its pid is in $pid afterwards. A function given as COMMAND must begin
# its last line with $in_place, or $pid would be that of a shell around the program, and ending it end nothing.
in_place=''
start() {
    local log=$1
    shift
    if [ "$(type -t "$1")" = function ]; then
        { in_place=exec && "$@"; } </dev/null >"$log" 2>&1 &
    else
        "$@" </dev/null >"$log" 2>&1 &
    fi
    pid=$!
    started+=("$pid")
}

# alive PID: it runs (a zombie has no command line).
alive() {
    [ -n "$({ tr -d '\0' <"/proc/$1/cmdline"; } 2>/dev/null)" ]
}

# stop PID: SIGTERM, ten seconds of grace, SIGKILL; returns the program's own exit code.
stop() {
    kill "$1" 2>/dev/null || true
    within 10 gone "$1" || kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null
}
gone() {
    ! alive "$1"
}

# For a trap on EXIT: whatever still runs is ended, and nothing else.
stop_all() {
    local one
    for one in "${started[@]}"; do
        if alive "$one"; then
            stop "$one" || true
        fi
    done
    started=()
}

# within SECONDS COMMAND…: tries until it succeeds.
within() {
    local until=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@"; do
        [ "${EPOCHREALTIME/[.,]/}" -lt "$until" ] || return 1
        sleep 0.05
    done
}

# bound tcp|udp ADDRESS PORT: somebody listens there, on this address or on all of them.
bound() {
    local a b c d here
    IFS=. read -r a b c d <<<"$2"
    here=$(printf '%02X%02X%02X%02X:%04X' "$d" "$c" "$b" "$a" "$3")
    awk -v protocol="$1" -v here="$here" -v any="00000000:${here#*:}" \
        '($2 == here || $2 == any) && (protocol == "udp" || $4 == "0A") { found = 1 } END { exit !found }' \
        "/proc/net/$1"
}
unbound() {
    ! bound "$@"
}

# must_be_free PROTOCOL ADDRESS PORT …: ends the run if another program is there: the tests would talk to that.
must_be_free() {
    while [ $# -gt 0 ]; do
        if ! within 5 unbound "$1" "$2" "$3"; then
            not_ok "ports are free" "another program is at $2:$3 ($1)"
            return 1
        fi
        shift 3
    done
}

# udp_sockets PID FIRST LAST: how many ports of a range a process has open. Whatever others have, the system gives out
# of the same range.
udp_sockets() {
    local port count=0
    while read -r port; do
        port=$((16#$port))
        if [ "$port" -ge "$2" ] && [ "$port" -le "$3" ]; then
            count=$((count + 1))
        fi
    done < <(awk 'FILENAME == "-" { gsub(/[^0-9]/, ""); ours[$0]; next } $10 in ours { split($2, at, ":"); print at[2] }' \
        - /proc/net/udp /proc/net/udp6 < <(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null))
    echo "$count"
}

# descriptors PID: how many files and sockets it has open.
descriptors() {
    local all=("/proc/$1/fd"/*)
    echo "${#all[@]}"
}

# show LOG: the end of a log, for a reader who has only the output of the run.
show() {
    [ -s "$1" ] || return 0
    echo "        --- end of $1"
    tail -n 30 "$1" | sed 's/^/        /'
}
