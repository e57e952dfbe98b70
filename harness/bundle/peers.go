package bundle

// EBPFPeers is Peers.
const EBPFPeers = "ebpf/peers.json"

// Peers is ebpf/peers.json: whose connection a goroutine served, of the connections
// that the target accepted and sent on inside the window. A goroutine that sent on
// more than one is left out.
type Peers struct {
	Goroutines []Peer `json:"goroutines"` // by id
	// Several is how many goroutines are left out for that.
	Several int `json:"several"`
}

// Peer is one of them.
type Peer struct {
	GoID int64 `json:"goid"`
	// Address is the other end's, "127.0.0.1:43210".
	Address string `json:"address"`
}
