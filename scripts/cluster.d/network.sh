# One bridge on the machine with every node on it. Nodes reach one another's pods directly, so that the machine forwards nothing.

api_address=10.99.0.1
service_address=10.96.0.1
bridge=loam-cluster0

node_number() { local letter=${1#node-}; echo $(($(printf '%d' "'$letter") - 96)); }
node_address() { echo "10.99.0.1$(node_number "$1")"; }
pod_range() { echo "10.244.$(node_number "$1").0/24"; }
# of the machine's end of its cable
node_device() { echo "loam-$1"; }

start_network() {
  # an address of its own: else it takes that of its lowest port, and a node more would cut the others off for a while
  ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" address 02:4c:6f:61:6d:00 type bridge
  ip addr replace "$api_address/24" dev "$bridge"
  ip link set "$bridge" up
}

end_network() { ip link del "$bridge" 2>/dev/null || true; }

# connect_node <node>: cable, addresses, and the ways to everybody; the namespace is new
connect_node() {
  local node=$1 other device
  device=$(node_device "$node")
  ip link del "$device" 2>/dev/null || true
  ip link add "$device" type veth peer name eth0 netns "$(pid_of "$node/namespaces")"
  ip link set "$device" master "$bridge" up
  ip route replace "$(pod_range "$node")" via "$(node_address "$node")" dev "$bridge" onlink
  enter "$node" ip link set lo up
  enter "$node" ip addr add "$(node_address "$node")/24" dev eth0
  enter "$node" ip link set eth0 up
  enter "$node" ip route add default via "$api_address"
  # to all that there can be: nothing is to be told when one is added
  for other in "${node_names[@]}"; do
    [ "$other" = "$node" ] || enter "$node" ip route add "$(pod_range "$other")" via "$(node_address "$other")"
  done
  enter "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  # no kube-proxy: pods and the node itself reach the API server by its service address through these two
  for other in OUTPUT PREROUTING; do
    enter "$node" iptables-legacy -t nat -A "$other" -d "$service_address" -p tcp --dport 443 -j DNAT --to-destination "$api_address:6443"
  done
  : >"$run/$node/connected"
}

is_connected() { [ -f "$run/$1/connected" ]; }

disconnect_node() {
  ip link del "$(node_device "$1")" 2>/dev/null || true
  rm -f "$run/$1/connected"
}

# write_pod_network <node>
write_pod_network() {
  mkdir -p "$data/$1/cni"
  cat >"$data/$1/cni/10-loam-cluster.conflist" <<JSON
{ "cniVersion": "0.4.0", "name": "loam-cluster", "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "$(pod_range "$1")" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }] }
JSON
}
