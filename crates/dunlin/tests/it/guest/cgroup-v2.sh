# Runs in the guest, by `sh -eu`: every line must succeed. What is expected is written out, from the pods' manifests.
trap 'code=$?; [ $code = 0 ] || { echo "--- the server said"; tail -n 25 /tmp/server.log; }' EXIT

step() { echo "[$(cut -d " " -f 1 /proc/uptime)] $*"; }
now() { cut -d . -f 1 /proc/uptime; }
fail() { echo "FAILED: $*"; exit 1; }
# within WHAT COMMAND...: asks again until it succeeds.
within() {
  what=$1 end=$(($(now) + 60))
  shift
  until "$@" >/tmp/last 2>&1; do
    [ "$(now)" -lt $end ] || { cat /tmp/last; fail "$what"; }
    sleep 0.2
  done
}
is() { [ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""; }
holds() { is "${1#$tree/}" "$(cat "$1")" "$2"; }
# see POD: what is to be seen of it from now on.
see() { dunlin get pod "$1" -o json >"/tmp/$1.json"; }
# field POD NAME: the first value of that name in what was seen.
field() { sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\).*/\1/p" "/tmp/$1.json" | head -n 1; }
# says POD NAME VALUE: sees it, and whether that is said somewhere in it.
says() {
  see "$1"
  grep -qE "^ *\"$2\": \"?$3\"?,?$" "/tmp/$1.json" || { cat "/tmp/$1.json"; return 1; }
}
node_ready() { dunlin get nodes | grep -qE "^one +Ready "; }
serve() { dunlin server --listen 10.99.0.1:6443 --node-name one >>/tmp/server.log 2>&1 & server=$!; }

[ -e /sys/fs/cgroup/cgroup.controllers ] || fail "this is not cgroup v2"
! grep -q " - cgroup " /proc/self/mountinfo || fail "there is cgroup v1 as well"
serve
within "node ready" node_ready
dunlin image import /image.tar >/dev/null
tree=/sys/fs/cgroup/dunlin-$(cat /var/lib/dunlin/agent/id)
step "the node is ready"

dunlin apply -f /pods.yaml
for pod in limited equal plain; do within "$pod running" says $pod phase Running; done
step "pods run"

# Each class has its place.
limited=$tree/burstable/pod$(field limited uid)
equal=$tree/pod$(field equal uid)
plain=$tree/besteffort/pod$(field plain uid)
for pod in "$limited" "$equal" "$plain"; do [ -d "$pod" ] || fail "no cgroup $pod"; done

# What was asked for is what the kernel holds a pod to, and its container.
container=$(dirname "$(ls -d "$limited"/*/cgroup.procs)")
pid=$(head -n 1 "$container/cgroup.procs")
is "the place of process $pid" "$(cat /proc/$pid/cgroup)" "0::${container#/sys/fs/cgroup}"
for cgroup in "$limited" "$container"; do
  holds "$cgroup/memory.max" $((64 << 20))
  holds "$cgroup/cpu.max" "50000 100000"
  holds "$cgroup/cpu.weight" 4
done
holds "$container/memory.swap.max" 0 2>/dev/null || [ ! -e "$container/memory.swap.max" ]
holds "$container/memory.oom.group" 1
holds "$limited/memory.oom.group" 0
holds "$container/pids.max" 4096
holds "$plain/memory.max" max
holds "$plain/cpu.max" "max 100000"
holds "$plain/cpu.weight" 1
holds "$equal/memory.max" $((32 << 20))
holds "$equal/cpu.max" "20000 100000"
step "limits are set"

# The container sees its own cgroup as the root, and may not change it.
is "the cgroup seen inside" "$(dunlin exec limited -- cat /proc/self/cgroup)" "0::/"
is "the limit seen inside" "$(dunlin exec limited -- cat /sys/fs/cgroup/memory.max)" $((64 << 20))
! dunlin exec limited -- sh -c "echo max > /sys/fs/cgroup/memory.max" 2>/dev/null || fail "a container lifted its limit"
# Devices, which version 2 leaves to a program: /dev/null opens, the kernel's log does not.
dunlin exec limited -- sh -c "echo > /dev/null && mknod /tmp/kmsg c 1 11"
! dunlin exec limited -- head -c0 /tmp/kmsg 2>/dev/null || fail "a container opened a device that it was not given"
is "the log" "$(dunlin logs limited)" started
step "exec and logs work"

within "hungry OOMKilled" says hungry reason OOMKilled
is "the exit code of hungry" "$(field hungry exitCode)" 137
within "parent OOMKilled" says parent reason OOMKilled
step "beyond its memory limit a container ends, with all its processes"

id=$(field limited containerID)
kill -9 $server
wait $server || true
kill -0 "$pid" || fail "the container ended with the server"
serve
within "node ready again" node_ready
within "exec after the takeover" dunlin exec limited -- true
see limited
is "the container" "$(field limited containerID)" "$id"
is "its restarts" "$(field limited restartCount)" 0
is "its process" "$(head -n 1 "$container/cgroup.procs")" "$pid"
is "the log after the takeover" "$(dunlin logs limited)" started
step "the next server took the containers over"

dunlin delete -f /pods.yaml --grace-period 1
for pod in "$limited" "$equal" "$plain"; do [ ! -e "$pod" ] || fail "cgroup $pod is left"; done
kill $server
wait $server || true
dunlin reset --yes
[ ! -e "$tree" ] || fail "cgroup $tree is left"
step "nothing is left"
