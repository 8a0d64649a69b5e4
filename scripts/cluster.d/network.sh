# Addresses and rules of the machine: the API server's own address, and the way from its service address to it.

api_address=10.99.0.1
service_address=10.96.0.1
bridge=loam-cluster0
pod_range=10.244.0.0/24

# no kube-proxy: pods and the machine reach the API server by its service address through these two
api_rule() { echo "$1 -d $service_address -p tcp --dport 443 -j DNAT --to-destination $api_address:6443"; }
has_address() { [ -n "$(ip -o addr show dev lo to "$api_address" 2>/dev/null)" ]; }

start_network() {
  # the bridge plugin switches it on
  [ -f "$run/ip_forward" ] || cat /proc/sys/net/ipv4/ip_forward >"$run/ip_forward"
  has_address || ip addr add "$api_address/32" dev lo
  local chain
  # shellcheck disable=SC2046
  for chain in OUTPUT PREROUTING; do
    iptables-legacy -t nat -C $(api_rule $chain) 2>/dev/null || iptables-legacy -t nat -A $(api_rule $chain)
  done
}

end_network() {
  ! has_address || ip addr del "$api_address/32" dev lo
  local chain
  # shellcheck disable=SC2046
  for chain in OUTPUT PREROUTING; do iptables-legacy -t nat -D $(api_rule $chain) 2>/dev/null || true; done
  ip link del "$bridge" 2>/dev/null || true
  [ ! -f "$run/ip_forward" ] || cat "$run/ip_forward" >/proc/sys/net/ipv4/ip_forward
}

write_pod_network() {
  mkdir -p "$data/cni"
  cat >"$data/cni/10-loam-cluster.conflist" <<JSON
{ "cniVersion": "0.4.0", "name": "loam-cluster", "plugins": [{
    "type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$data/addresses",
              "ranges": [[{ "subnet": "$pod_range" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }] }
JSON
}
