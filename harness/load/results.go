package load

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// resultQueue is how many results may wait to be written; it rides out a stall
// of the disk of a second or two at 10,000 requests a second, in about 4 MiB.
const resultQueue = 1 << 14

// resultFile streams results in vegeta's encoding to a file without a name, so
// that nothing is left behind however the process ends.
type resultFile struct {
	base  time.Time // of the times in an exchange
	queue chan exchange
	done  chan struct{}

	// Valid once done is closed.
	file    *os.File
	written int64
	lost    int64 // taken from the queue and not written
	err     error
}

func newResultFile(base time.Time) (*resultFile, error) {
	file, err := os.CreateTemp("", "chokepoint-results-*.gob")
	if err != nil {
		return nil, fmt.Errorf("load: temporary file for results: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("load: temporary file for results: %w", err)
	}
	f := &resultFile{base: base, queue: make(chan exchange, resultQueue), done: make(chan struct{}), file: file}
	go f.write()
	return f, nil
}

// add queues a result; false means that the queue is full and it was dropped.
func (f *resultFile) add(x exchange) bool {
	select {
	case f.queue <- x:
		return true
	default:
		return false
	}
}

// finish ends the stream. There must be no more adds.
func (f *resultFile) finish() { close(f.queue) }

func (f *resultFile) write() {
	defer close(f.done)
	out := bufio.NewWriterSize(f.file, 1<<20)
	encode := vegeta.NewEncoder(out)
	for x := range f.queue {
		if f.err == nil {
			f.err = encode.Encode(f.result(x))
		}
		if f.err != nil {
			f.lost++
			continue
		}
		f.written++
	}
	if err := out.Flush(); f.err == nil {
		f.err = err
	}
	if f.err != nil {
		f.err = fmt.Errorf("load: write results to %s: %w", os.TempDir(), f.err)
	}
}

func (f *resultFile) result(x exchange) *vegeta.Result {
	r := &vegeta.Result{
		Seq:       x.seq,
		Code:      uint16(x.code),
		Timestamp: f.base.Add(time.Duration(x.sent)),
		Latency:   time.Duration(x.ended - x.sent),
		BytesOut:  uint64(x.bytesOut),
		BytesIn:   uint64(x.bytesIn),
		Error:     x.failure,
		Method:    x.method,
		URL:       x.url,
	}
	if x.failure == "" && !x.ok() {
		r.Error = strconv.Itoa(x.code) + " " + http.StatusText(x.code)
	}
	return r
}

// copyTo writes the stream to w, after done.
func (f *resultFile) copyTo(w io.Writer) error {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("load: read results back: %w", err)
	}
	if _, err := io.Copy(w, f.file); err != nil {
		return fmt.Errorf("load: copy results: %w", err)
	}
	return nil
}
