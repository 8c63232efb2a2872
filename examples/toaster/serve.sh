#!/bin/sh
# Serves the toaster on a bus of its own, below the folder given (default: /tmp/toaster), until told to end.
# Needs Debian's dbus-daemon. Prints the address of the bus when all is ready.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-/tmp/toaster}
agent=${VNODE_AGENT:-vnode-agent}
mkdir -p "$folder/instances"
cp "$here/component/vci-toaster" "$folder/"
mkdir -p "$folder/yang"
cp "$here/component/toaster.yang" "$folder/yang/"
# The script has no PATH: it finds the agent beside itself.
ln -sf "$(command -v "$agent")" "$folder/vnode-agent"
sed "s,@FOLDER@,$folder,g" "$here/component/toaster.instance" >"$folder/instances/toaster.instance"
cat >"$folder/bus.conf" <<CONF
<busconfig><listen>unix:path=$folder/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
CONF
rm -f "$folder/bus"
dbus-daemon --config-file="$folder/bus.conf" --nofork --nopidfile &
bus=$!
trap 'kill $bus' EXIT
export VNODE_COMPONENT_BUS="unix:path=$folder/bus"
while ! [ -S "$folder/bus" ]; do sleep 0.1; done
$agent component serve -instance-dir "$folder/instances" &
daemon=$!
trap 'kill $daemon; wait $daemon; kill $bus' EXIT
trap 'exit 0' TERM INT
until $agent component activate -component net.vyatta.eng.vci.example.ephemeral.toaster 2>/dev/null; do
    kill -0 $daemon
    sleep 0.1
done
echo "$VNODE_COMPONENT_BUS"
wait $daemon
