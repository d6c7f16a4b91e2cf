# Makes a machine ready to become an image: takes away what is this run's alone, and leaves environments and what made them.
# Ends with everything written to the disk. The connection it is run over goes on; nobody gets in with the old keys later.
set -eu
base=$HOME/.cache/cloudist
rm -rf "$base/trees" "$base/store" "$base/wheels"
rm -f "$HOME/.ssh/authorized_keys" "$HOME/.netrc" "$HOME/.bash_history" "$HOME/.python_history"
rm -rf "$HOME/.config/pip" "$HOME/.pip" "$HOME/.config/uv" "$HOME/.ssh/known_hosts"
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
# shellcheck disable=SC2016
as_root sh -c '
    if command -v cloud-init >/dev/null 2>&1; then cloud-init clean --logs --seed; fi
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /root/.ssh/authorized_keys /root/.bash_history
'
sync
