#!/bin/sh
# redirect.sh [nft|iptables]: sends the pod's outgoing TCP connections to sidekey's listen.transparent.
#
# An init container runs it once; it needs NET_ADMIN, and an image with nft or iptables. The rules belong to the pod's
# network and stay until the pod ends. Not redirected: sidekey itself (by its user), loopback, and DIRECT.
#   PORTS   ports that are redirected: those of the rules                (443)
#   TO      port of listen.transparent                                   (15001)
#   USER_ID the user of sidekey; nothing else in the pod may have it     (65532)
#   DIRECT, DIRECT6  networks that are reached directly: the cluster's   (private ones, link-local)
set -eu

PORTS=${PORTS:-443} TO=${TO:-15001} USER=${USER_ID:-65532}
DIRECT=${DIRECT:-10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16}
DIRECT6=${DIRECT6:-fc00::/7,fe80::/10}

with_nft() {
    nft -f - <<RULES
table inet sidekey {
    chain output {
        type nat hook output priority -100; policy accept;
        meta skuid $USER return
        oifname "lo" return
        ip daddr { 127.0.0.0/8, $DIRECT } return
        ip6 daddr { ::1, $DIRECT6 } return
        tcp dport { $PORTS } redirect to :$TO
    }
}
RULES
}

with_iptables() { # COMMAND NETWORKS
    "$1" -t nat -N SIDEKEY
    "$1" -t nat -A SIDEKEY -m owner --uid-owner "$USER" -j RETURN
    "$1" -t nat -A SIDEKEY -o lo -j RETURN
    "$1" -t nat -A SIDEKEY -d "$2" -j RETURN
    "$1" -t nat -A SIDEKEY -p tcp -m multiport --dports "$PORTS" -j REDIRECT --to-ports "$TO"
    "$1" -t nat -A OUTPUT -p tcp -j SIDEKEY
}

case ${1:-nft} in
nft) with_nft ;;
iptables)
    with_iptables iptables "$DIRECT"
    with_iptables ip6tables "$DIRECT6"
    ;;
*)
    echo "redirect.sh: nft or iptables, not $1" >&2
    exit 64
    ;;
esac
