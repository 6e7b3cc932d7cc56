#!/usr/bin/env bash
# Builds kwapi_VERSION-REVISION_ARCH.deb of this tree:  deb/build.sh [DIRECTORY [REVISION]]
# It has all of Kwapi and its libraries in an environment of its own, /usr/lib/kwapi (docs/adr says why), for the Python of the
# Debian that it is built on. Needs python3-venv, python3-dev, gcc, librrd-dev, dpkg-dev, and an index of Python packages.
# DEBFULLNAME and DEBEMAIL are whom to ask about it.
set -euo pipefail
umask 022
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
directory=${1:-$root/dist}
revision=${2:-1}
here=$root/deb
python=/usr/bin/python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
venv=$stage/usr/lib/kwapi

# A copy, since setuptools would take in what an earlier build has left in the tree.
mkdir "$work/tree"
cp -r "$root"/{kwapi,etc,docs,setup.py,setup.cfg,pyproject.toml,README.md,CHANGELOG.md,CONTRIBUTING.md,LICENSE} "$work/tree"
find "$work/tree" \( -name __pycache__ -o -name _build \) -prune -exec rm -r {} +

mkdir -p "$stage/usr/lib"
"$python" -m venv "$venv"
# Without pip's cache, whose wheels may have been built for another Python.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-cache-dir "$work/tree[all]"
version=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("kwapi"))')-$revision
series=$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")')
"$venv/bin/python" -m pip uninstall --quiet --yes setuptools pip

# What says where it was made, and programs that are not ours.
find "$venv/bin" -mindepth 1 ! -name 'kwapi*' ! -name 'python*' -delete
sed -i "1s|^#!$venv/|#!/usr/lib/kwapi/|" "$venv"/bin/kwapi*
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' > "$venv/pyvenv.cfg"
find "$venv" -name __pycache__ -prune -exec rm -r {} +
find "$venv" -name .DS_Store -delete
find "$venv/lib" -type f -exec chmod 644 {} +
find "$venv/lib" -name '*.so' -exec strip --strip-unneeded {} +
ln -sf ../../../bin/python3 "$venv/bin/python3"
"$python" -W ignore -m compileall -q -s "$stage" -p / --invalidation-mode unchecked-hash "$venv/lib"
if grep -rlI --exclude=RECORD --exclude=direct_url.json "$work" "$stage" ||
    find "$venv/lib" -name '*.so' -exec readelf -d {} + | grep -E 'R(UN)?PATH' | grep -v ORIGIN; then
    echo "These name the directory of the build" >&2
    exit 1
fi

mkdir -p "$stage"/usr/{bin,share/doc/kwapi} "$stage"/usr/lib/{systemd/system,sysusers.d,tmpfiles.d} "$stage/etc/kwapi"
mv "$venv/share/kwapi" "$stage/usr/share/kwapi"
rm -r "$venv"/{share,include} "$venv/etc"  # of libraries: samples, headers
for program in "$venv"/bin/kwapi*; do
    ln -s "../lib/kwapi/bin/$(basename "$program")" "$stage/usr/bin/"
done
units=$stage/usr/share/kwapi/etc/systemd
cp -r "$units"/kwapi* "$stage/usr/lib/systemd/system/"
cp "$units/sysusers.conf" "$stage/usr/lib/sysusers.d/kwapi.conf"
cp "$units/tmpfiles.conf" "$stage/usr/lib/tmpfiles.d/kwapi.conf"
cp -r "$work/tree"/{README.md,CHANGELOG.md,docs} "$stage/usr/share/doc/kwapi/"
"$python" -m venv "$work/sphinx"
"$work/sphinx/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$work/tree[docs]"
"$work/sphinx/bin/python" -m sphinx -q -W --keep-going -b man "$work/tree/docs" "$work/man"
for page in "$work"/man/*.[1-8]; do
    install -D -m 644 "$page" "$stage/usr/share/man/man${page##*.}/$(basename "$page")"
done
find "$stage/usr/share/man" -type f -exec gzip -9n {} +
cp "$here/copyright" "$stage/usr/share/doc/kwapi/copyright"
install -D -m 644 "$here/lintian-overrides" "$stage/usr/share/lintian/overrides/kwapi"
maintainer="${DEBFULLNAME:-Kwapi} <${DEBEMAIL:-kwapi@localhost}>"
gzip -9nc "$root/CHANGELOG.md" > "$stage/usr/share/doc/kwapi/changelog.gz"
printf 'kwapi (%s) unstable; urgency=medium\n\n  * Built from a tree; changelog.gz says what is new.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date --utc --rfc-email --reference="$root/CHANGELOG.md")" |
    gzip -9nc > "$stage/usr/share/doc/kwapi/changelog.Debian.gz"
# So short that they never change: what a person has written there is not asked about at an upgrade.
for daemon in drivers forwarder api rrd; do
    printf '# Every option, with its default, is in /usr/share/kwapi/etc/kwapi/%s.conf.\n[DEFAULT]\n' "$daemon" \
        > "$stage/etc/kwapi/$daemon.conf"
done

mkdir "$stage/DEBIAN" "$work/debian"
(cd "$stage" && find etc -type f -printf '/%p\n' | sort) > "$stage/DEBIAN/conffiles"
install -m 755 "$here"/{postinst,prerm,postrm} "$stage/DEBIAN/"
printf 'Source: kwapi\n\nPackage: kwapi\nArchitecture: any\n' > "$work/debian/control"  # dpkg-shlibdeps asks for one
mapfile -t libraries < <(find "$venv/lib" -name '*.so')
shared=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info "${libraries[@]}" 2>/dev/null | sed 's/^shlibs:Depends=//')
cat > "$stage/DEBIAN/control" <<EOF
Package: kwapi
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Installed-Size: $(du -sk "$stage" | cut -f 1)
Depends: python3 (>= $series~), python3 (<< ${series%.*}.$((${series#*.} + 1))~), $shared, fonts-dejavu-core, tzdata, systemd
Suggests: rrdcached, nginx
Section: admin
Priority: optional
Description: electric power and energy of the machines in a data centre
 Drivers read wattmeters (SNMP, IPMI, Redfish, Modbus and others), sign what
 they read and publish it on a bus. An energy API and graphs subscribe to it.
EOF
mkdir -p "$directory"
package=$directory/kwapi_${version}_$(dpkg --print-architecture).deb
dpkg-deb --build --root-owner-group -Zxz "$stage" "$package" >/dev/null
echo "$package"
