# Ends this machine when its lease is over. Whoever rents it puts the lease off by writing a later uptime into the file.
umask 000
mkdir -p -m 1777 "$(dirname @LEASE_FILE@)"
read -r up _ </proc/uptime
echo $((${up%.*} + @SECONDS@)) >@LEASE_FILE@
chmod 666 @LEASE_FILE@
guard='
end=0
while :; do
  read -r told <@LEASE_FILE@ 2>/dev/null || told=
  case "$told" in "" | *[!0-9]*) ;; *) end=$told ;; esac
  read -r up _ </proc/uptime
  up=${up%.*}
  [ "$up" -ge "$end" ] && break
  left=$((end - up))
  [ "$left" -gt 5 ] && left=5
  sleep "$left"
done
while :; do
  shutdown -P now || poweroff -f
  sleep 10
done
'
# This runs before the system is up: a unit that waited for that, and was waited for, would hold it up for ever.
if command -v systemd-run >/dev/null 2>&1 &&
  systemd-run --no-block --unit=cloudist-lease --collect -p DefaultDependencies=no sh -c "$guard" 2>/dev/null; then
  exit 0
fi
setsid sh -c "$guard" </dev/null >/dev/null 2>&1 &
