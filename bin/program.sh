# Sourced by bin/kwapi and bin/kwapi-*.

# run_program NAME ARGUMENT...: a program of .venv, whose state is where bin/run keeps it, unless its files say another.
run_program() {
    local root program state
    root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
    program=$root/.venv/bin/$1
    [ -x "$program" ] || { echo "There is no environment yet: run bin/run first" >&2; exit 1; }
    state=$root/var
    case "$*" in *etc/demo*) state=$root/var/demo ;; esac
    export KWAPI_DEFAULT_STATE_DIR=${KWAPI_DEFAULT_STATE_DIR:-$state}
    shift
    exec "$program" "$@"
}
