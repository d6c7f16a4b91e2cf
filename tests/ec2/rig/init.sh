#!/bin/sh
# Process 1 of a machine, in namespaces of its own: makes the machine's file tree, runs its user data, serves SSH, and
# ends when the machine is shut down. $1 is the machine's directory on the host; it becomes /run/rig in here.
# Exit status: 0 the machine was shut down, anything else it failed. Its end is the end of every process in it.
set -eu
machine=$1
exec 3<&0 </dev/null

# What the machine may write lives in one tmpfs that goes with it.
mount -t tmpfs -o mode=755 rig "$machine/root"
cd "$machine/root"
mkdir etc home root run tmp var shown upper work
chmod 1777 tmp
mkdir -p var/lib var/log var/cache var/tmp run/rig run/sshd
chmod 1777 var/tmp
ln -s /run var/run
number=0
while read -r path; do
    number=$((number + 1))
    mkdir "shown/$number"
    mount --rbind "$path" "shown/$number"
done <"$machine/shown"

# System directories are the host's, with the machine's own files laid over them.
while read -r directory; do
    name=$(echo "$directory" | tr / _)
    mkdir -p "upper/$name" "work/$name"
    [ ! -d "$machine/over$directory" ] || cp -a "$machine/over$directory/." "upper/$name"
    while read -r path; do
        [ "${path%/*}" != "$directory" ] || mknod "upper/$name/${path##*/}" c 0 0
    done <"$machine/hidden"
    mount -t overlay -o "lowerdir=$directory,upperdir=upper/$name,workdir=work/$name" overlay "$directory"
done <"$machine/overlaid"

mount --rbind "$machine" run/rig
# The keys of this host are none of the machine's; only its own layer over /etc forgets them.
rm -f /etc/ssh/ssh_host_*
for directory in home root run var tmp; do
    mount --rbind "$directory" "/$directory"
done
mount -t tmpfs -o mode=1777 rig /dev/shm
number=0
while read -r path; do
    number=$((number + 1))
    case $path in
    /home/* | /root/* | /run/* | /var/* | /tmp/*)
        mkdir -p "$path"
        mount --rbind "/run/rig/root/shown/$number" "$path"
        ;;
    esac
done </run/rig/shown
cd /
. /run/rig/environment
hostname "$MACHINE_NAME"
mkdir -p "$MACHINE_HOME"
[ -z "$MACHINE_HOME_SIZE" ] || mount -t tmpfs -o "size=$MACHINE_HOME_SIZE" rig "$MACHINE_HOME"
[ ! -d /run/rig/home ] || cp -a /run/rig/home/. "$MACHINE_HOME"
chown "$MACHINE_USER:" "$MACHINE_HOME"
chmod 700 "$MACHINE_HOME"

# A machine without its account is gone: the rig holds the other end of descriptor 3.
{ read -r _ <&3 || echo crash >/run/rig/power; } &
exec 3<&-

serve_ssh() {
    env --default-signal /usr/sbin/sshd -D -E /run/rig/sshd.log -f /run/rig/sshd_config &
}
set +e
. /run/rig/boot
# In this order, so that a permission that comes meanwhile is seen here or leads to a request on the pipe.
touch /run/rig/booted
[ ! -f /run/rig/admitted ] || serve_ssh
/bin/sh -c '. /run/rig/final' &

# Requests come by the pipe: from `shutdown` and its kin in here, and from the rig.
{
    timer=
    while read -r verb argument; do
        case $verb in
        ssh) serve_ssh ;;
        later)
            [ -z "$timer" ] || kill "$timer"
            { sleep "$argument" && echo now >/run/rig/power; } &
            timer=$!
            ;;
        cancel)
            [ -z "$timer" ] || kill "$timer"
            timer=
            ;;
        now) exit 0 ;;
        crash) exit 1 ;;
        esac
    done <>/run/rig/power
} &
# Waiting also collects the processes whose parents are gone.
wait $!
