#!/bin/sh
# Installs jaxlt on every host of the slices.
set -eu

TAKES="name project zone num-slices package files python internal-ip retries backoff ssh-timeout dry-run"
NEEDS="name project zone"
usage() {
  cat <<'HELP'
setup.sh --name=NAME --project=PROJECT --zone=ZONE [--package=WHEEL_OR_FOLDER] [--files=FOLDER]
Copies a wheel of jaxlt to all hosts and installs it there with its extra `tpu`, in a virtual
environment of its own. Refuses while hosts are down. Quick where nothing has changed.
HELP
}

# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

copy() { # SLICE FILES...: to all its hosts
  copy_node=$1 copy_to=$2
  shift 2
  # shellcheck disable=SC2046 # words without spaces
  tpus tpu-vm scp "$@" "$copy_node:$copy_to" --worker=all --recurse $(ssh_flags scp)
}

setup_slice() {
  on_hosts "$1" all "mkdir -p jaxlt_host/files" &&
    copy "$1" jaxlt_host/ "$HERE/host.sh" "$WHEEL" &&
    { [ -z "$FILES" ] || copy "$1" jaxlt_host/files/ "$FILES"; } &&
    on_hosts "$1" all "sh jaxlt_host/host.sh setup $stamp ${WHEEL##*/} $HOST_PYTHON"
}

parse_flags "$@"
[ -z "$FILES" ] || [ -e "$FILES" ] || die 2 "--files=$FILES is not there."
find_wheel
require_hosts up
stamp=dry-run
[ -n "$DRY_RUN" ] || stamp=$(cksum <"$WHEEL" | tr ' ' '-')-$HOST_PYTHON
SSH_TIMEOUT=$((SSH_TIMEOUT * 10)) # an installation takes minutes
for node in $NODES; do
  (
    ERR=$TMP/setup.$node
    kind=0
    setup_slice "$node" >"$TMP/out.$node" || kind=$?
    if [ "$kind" -ne 0 ]; then
      say "$node could not be set up:"
      explain "$kind" "$ERR"
      : >"$TMP/failed.$node"
    fi
  ) &
done
wait
for node in $NODES; do
  [ ! -f "$TMP/failed.$node" ] || die 10 "not all hosts are set up; run this again."
done
[ -n "$DRY_RUN" ] || say "$NAME is set up: ${WHEEL##*/}"
