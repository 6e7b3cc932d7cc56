# Sourced by bin/run and bin/test: the Debian packages of bindep.txt and the virtual environment in .venv.
# Nothing is done twice: a stamp in .venv holds what was installed.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv=$root/.venv

# install_packages PROFILE: the packages without a profile, and those of PROFILE.
install_packages() {
    local missing
    mapfile -t missing < <(
        sed 's/#.*//' "$root/bindep.txt" | while read -r name profile; do
            [ -n "$name" ] || continue
            [ -z "$profile" ] || [ "$profile" = "[$1]" ] || continue
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
        done
    )
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || { echo "Not a Debian: install what these packages hold: ${missing[*]}" >&2; return; }
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            echo "Missing: as root run  apt-get install ${missing[*]}" >&2
            exit 1
        fi
    fi
    echo "Installing ${missing[*]} ..."
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# install_project EXTRA: the project, editable, with an extra ("" for none), unless its setup.cfg was installed before.
install_project() {
    local stamp wanted
    stamp=$venv/.installed-${1:-run}
    wanted=$(cat "$root/setup.cfg" "$root/setup.py" | sha256sum; echo "$root")
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$venv/bin/python" ] && return
    [ -w "$root" ] || { echo "Cannot set up $venv: $root is not yours to write; clone it again as yourself" >&2; exit 1; }
    echo "Setting up the virtual environment in .venv ..."
    # An environment whose making was interrupted has a Python, but no pip.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root${1:+[$1]}"
    echo "$wanted" > "$stamp"
}

# install_server NAME: what tests/integration/requirements/NAME.txt lists, into an environment of its own that all checkouts
# share; tests/integration/environments.py finds it there.
install_server() {
    local requirements=$root/tests/integration/requirements/$1.txt cache=${XDG_CACHE_HOME:-$HOME/.cache}/kwapi/venvs environment
    environment=$cache/$1-$(sha256sum "$requirements" | cut -c 1-16)
    mkdir -p "$cache"
    (
        flock 9  # another bin/test may be at it
        [ -f "$environment/complete" ] && "$environment/bin/python" -c "" 2>/dev/null && exit
        echo "Setting up $1 in $environment ..."
        python3 -m venv --clear "$environment"
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
        touch "$environment/complete"
    ) 9>"$environment.lock"
}
