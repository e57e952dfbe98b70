package worker

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"chokepoint/harness/load/account"
	"chokepoint/harness/load/attack"
)

// Version is that of the stream.
const Version = 2

// protocol is the first thing a worker says, so that a program that is no
// worker is told apart from one of another version.
const protocol = "chokepoint-load"

// maxFrame bounds what a frame makes the other side allocate.
const maxFrame = 256 << 20

// kind tells what a frame holds.
type kind byte

// The kinds of frames; doc.go says who sends them and when.
const (
	kindHello kind = iota + 1
	kindPlan
	kindReady
	kindStart
	kindLive
	kindResults
	kindWindow
	kindRelease
	kindStop
	kindAccount
	kindFailed
	kindRead
	kindReading
)

func (k kind) String() string {
	names := [...]string{"Hello", "Plan", "Ready", "Start", "Live", "Results", "Window", "Release", "Stop", "Account", "Failed", "Read", "Reading"}
	if k < 1 || int(k) > len(names) {
		return fmt.Sprintf("frame of kind %d", byte(k))
	}
	return names[k-1]
}

// What the frames hold.
type (
	hello struct {
		Protocol string `json:"protocol"`
		Version  int    `json:"version"`
		PID      int    `json:"pid"`
	}
	start struct {
		AtNS int64 `json:"at_ns"` // CLOCK_MONOTONIC
	}
	window struct {
		MonoNS int64 `json:"mono_ns"` // CLOCK_MONOTONIC
		End    bool  `json:"end,omitempty"`
	}
	release struct {
		AtNS int64 `json:"at_ns"` // since the attack began
	}
	failed struct {
		Error string `json:"error"`
	}
)

// Ready is what a worker says of itself before it begins.
type Ready struct {
	OpenFilesLimit int64  `json:"open_files_limit"`
	GOMAXPROCS     int    `json:"gomaxprocs"`
	Engine         string `json:"engine"`
	EngineWhy      string `json:"engine_why,omitempty"` // why it is not the lean one
}

// Live is how a worker's attack stands.
type Live struct {
	account.Live
	// AtLevel is true when the ramp of the captured stage is over.
	AtLevel bool `json:"at_level"`
	// Full is true when every place in flight is taken.
	Full bool `json:"full"`
}

// Account is what a worker leaves.
type Account struct {
	Account      account.Account `json:"account"`
	Stages       []attack.Bounds `json:"stages"`
	PeakRSSBytes int64           `json:"peak_rss_bytes"`
	// ResultsDropped and ResultsError tell of results that were kept and could not
	// be written, beside those that the account counts.
	ResultsWritten int64  `json:"results_written"`
	ResultsDropped int64  `json:"results_dropped"`
	ResultsError   string `json:"results_error,omitempty"`
}

// frames writes frames. It may be used by several goroutines.
type frames struct {
	mu  sync.Mutex
	out *bufio.Writer
}

func newFrames(w io.Writer) *frames { return &frames{out: bufio.NewWriterSize(w, 64<<10)} }

func (f *frames) raw(k kind, body []byte) error {
	if len(body) > maxFrame {
		return fmt.Errorf("%s is of %d bytes; a frame holds at most %d", k, len(body), maxFrame)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var head [5]byte
	head[0] = byte(k)
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	// An error stays with the writer and comes out of Flush.
	_, _ = f.out.Write(head[:])
	_, _ = f.out.Write(body)
	if err := f.out.Flush(); err != nil {
		return fmt.Errorf("send %s: %w", k, err)
	}
	return nil
}

func (f *frames) send(k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("send %s: %w", k, err)
	}
	return f.raw(k, body)
}

// readFrame reads the next frame. At the end of the stream between two frames
// the error is io.EOF.
func readFrame(r *bufio.Reader) (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("read a frame: %w", err)
	}
	k, size := kind(head[0]), binary.BigEndian.Uint32(head[1:])
	if k < kindHello || k > kindReading {
		return 0, nil, fmt.Errorf("read a frame: its kind is %d; the stream is not that of a load worker", head[0])
	}
	if size > maxFrame {
		return 0, nil, fmt.Errorf("read %s: it is of %d bytes; a frame holds at most %d", k, size, maxFrame)
	}
	// The length is not believed before so much has come.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(body) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", k, err)
	}
	return k, body, nil
}

func decode[T any](k kind, body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", k, err)
	}
	return v, nil
}
