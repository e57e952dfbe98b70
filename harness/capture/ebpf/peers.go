package ebpf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
)

// readPeers lists whose connection each goroutine sent on.
func (p *netProbe) readPeers() (bundle.Peers, error) {
	doc := bundle.Peers{Goroutines: []bundle.Peer{}}
	var goid uint64
	var peer bpf.NetPeer
	each := p.coll.Maps[bpf.NetMapPeers].Iterate()
	for each.Next(&goid, &peer) {
		if peer.Several != 0 {
			doc.Several++
			continue
		}
		addr := netip.AddrFrom16(peer.Addr).Unmap()
		if peer.V6 == 0 {
			addr = netip.AddrFrom4([4]byte(peer.Addr[:4]))
		}
		doc.Goroutines = append(doc.Goroutines, bundle.Peer{GoID: int64(goid), Address: netip.AddrPortFrom(addr, peer.Port).String()})
	}
	if err := each.Err(); err != nil {
		return doc, fmt.Errorf("read whose connections were served: %w", err)
	}
	slices.SortFunc(doc.Goroutines, func(a, b bundle.Peer) int { return cmp.Compare(a.GoID, b.GoID) })
	return doc, nil
}

// writePeers writes them, unless this kernel or the target does not tell.
func (p *netProbe) writePeers(w *bundle.Writer, res *result) error {
	if p.absent[figSends] != "" || !p.goroutines {
		return nil
	}
	doc, err := p.readPeers()
	if err != nil {
		return err
	}
	if err := writeCompact(w, bundle.EBPFPeers, doc); err != nil {
		return err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFPeers)
	return nil
}
