# The day of a package on a booted copy of this host. Says what it finds, as NAME: VALUE.
export DEBIAN_FRONTEND=noninteractive
shared=/run/shared
unit=power-agent.service

# Waits for a condition, two minutes at most.
wait_for() {
    tries=0
    until sh -c "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || { echo "waited in vain: $1" >&2; journalctl -u $unit -n 30 --no-pager >&2; exit 9; }
        sleep 0.1
    done
}
state() { systemctl show -p ActiveState --value $unit; }
edges() { wc -l < $shared/edges.jsonl | tr -d ' '; }
power() { power-agent --json status node1 | sed 's/.*"power":"\([a-z]*\)".*/\1/'; }
anew() { systemctl show -p NRestarts --value $unit; }

# Images for containers have one that keeps packages from starting anything.
rm -f /usr/sbin/policy-rc.d
dpkg -i $shared/power-agent.deb >&2
echo "installed: $(systemctl is-enabled $unit) $(state)"
systemctl start $unit
echo "without a rack file: $(state)"

systemd-run --quiet --unit=virtual-rack $shared/virtual-rack run $shared/vrack.toml
wait_for "test -S $shared/rack.sock"
chmod 666 "$(readlink -f $shared/board-a)"
touch $shared/edges.jsonl

cp $shared/rack.toml /etc/lamplighter/rack.toml
mkdir -p /etc/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=3s\n' > /etc/systemd/system/$unit.d/trial.conf
systemctl daemon-reload
systemctl start $unit
echo "started: $(state)"
main=$(systemctl show -p MainPID --value $unit)
echo "its user: $(ps -o user:20= -p "$main" | tr -d ' ')"
echo "its capabilities: $(sed -n 's/^CapEff:\t//p' "/proc/$main/status")"
echo "its groups: $(id -nG lamplighter | tr ' ' '\n' | sort | tr '\n' ' ' | sed 's/ $//')"
echo "status: $(power)"
systemctl reload $unit
echo "reloaded: $(state)"

kill -STOP "$main"
wait_for "test \$(systemctl show -p NRestarts --value $unit) = 1 && systemctl is-active --quiet $unit"
why=$(journalctl -u $unit --no-pager -o cat | grep -c 'Watchdog timeout' || true)
echo "after SIGSTOP: $(state), started anew $(anew) times, $([ "$why" -ge 1 ] && echo watchdog)"
kill -KILL "$(systemctl show -p MainPID --value $unit)"
wait_for "test \$(systemctl show -p NRestarts --value $unit) = 2 && systemctl is-active --quiet $unit"
echo "after SIGKILL: $(state), started anew $(anew) times"
echo "edges before an order: $(edges)"

power-agent on node1 >&2
echo "ordered on: $(power)"
echo "edges of the order: $(edges)"

main=$(systemctl show -p MainPID --value $unit)
before=$(sha256sum /etc/lamplighter/rack.toml)
dpkg -i $shared/power-agent.deb >&2
wait_for "systemctl is-active --quiet $unit"
echo "upgraded: $(state), $([ "$main" != "$(systemctl show -p MainPID --value $unit)" ] && echo by another process)"
echo "the machine after the upgrade: $(power)"
[ "$before" = "$(sha256sum /etc/lamplighter/rack.toml)" ] && echo "the rack file after the upgrade: as it was"

echo "verified: $(systemd-analyze verify /usr/lib/systemd/system/$unit 2>&1 | grep power-agent || true)"
echo "exposure: $(systemd-analyze security --no-pager $unit 2>/dev/null | tail -1)"
dpkg --remove power-agent >&2
echo "removed: $(state)"
dpkg --purge power-agent >&2
[ -e /etc/lamplighter/rack.toml ] && [ ! -e /var/lib/lamplighter ] && echo "purged: the rack file stays, the state is gone"
echo "edges in the end: $(edges)"
