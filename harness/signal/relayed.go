package signal

import (
	"slices"

	"chokepoint/harness/signal/stack"
)

// peerOf tells what a goroutine of a profile wants of a peer. Where handlers wait for an
// answer that another goroutine reads, the trace tells, by who ends such waits: a profile has
// no more than a stack. Without a trace none is known.
func (e *evidence) peerOf() func(sample) stack.Peer {
	var relayed []stack.Frame
	if s, err := e.trace(); err == nil {
		relayed = s.Hung.Relayed
	}
	return func(x sample) stack.Peer {
		peer := e.program.PeerOf(x.frames)
		if peer == stack.NoPeer && len(relayed) > 0 && e.program.MayBeRelayed(x.frames) && slices.Contains(relayed, e.program.Asker(x.frames)) {
			return stack.RelayedPeer
		}
		return peer
	}
}
