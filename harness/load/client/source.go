package client

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// usablePorts is the share of one address's local ports that is planned with.
// The rest is for other programs and for what is in TIME_WAIT; and the kernel's
// search for a free port grows long when few are left.
const usablePorts = 0.8

// SourceAddrs says from which addresses to open so many connections to the host
// of a URL ("127.0.0.1", "::1", a name). It is empty where the kernel's choice will
// do. Connections of several processes count together: whoever divides an attack
// among them asks once, and hands the answer to each as Plan.From.
func SourceAddrs(host string, connections int) ([]netip.Addr, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		ip = netip.Addr{} // a name: the kernel's choice, or none
	}
	ports, err := localPorts()
	if err != nil {
		return nil, err
	}
	return sources(ip.Unmap(), connections, ports)
}

func sources(to netip.Addr, connections, ports int) ([]netip.Addr, error) {
	each := int(usablePorts * float64(ports))
	if connections <= each || each < 1 {
		return nil, enoughPorts(connections, 1, ports)
	}
	if !to.Is4() || !to.IsLoopback() {
		return nil, enoughPorts(connections, 1, ports)
	}
	var out []netip.Addr
	from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for range (connections + each - 1) / each {
		out = append(out, from)
		from = from.Next()
	}
	return out, nil
}

// enoughPorts says which limit is in the way of so many connections.
func enoughPorts(connections, addresses, ports int) error {
	if connections <= addresses*ports {
		return nil
	}
	return fmt.Errorf("%d connections to one target need as many local ports, and %d source address(es) have %d each "+
		"(net.ipv4.ip_local_port_range); name %d addresses in from, widen that range, or ask for at most %d connections",
		connections, addresses, ports, (connections+ports-1)/ports, addresses*ports)
}

// localPorts is the number of ports that the kernel chooses from at connect.
func localPorts() (int, error) {
	const path = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("range of local ports: %w", err)
	}
	var first, last int
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &first, &last); err != nil || last < first {
		return 0, fmt.Errorf("range of local ports: %s holds %q; want two numbers", path, text)
	}
	return last - first + 1, nil
}
