package client

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrMisbehaved is what a badly behaved request ends with when it did what it
// was there for. It is no failure of the target.
var ErrMisbehaved = errors.New("client: ended as a badly behaved client does")

// Behaviour is a way in which real clients are bad to a server. Exactly one of
// the fields after Share is set. Bytes are counted on the connection, so that the
// head of a response counts, and so do the records of TLS after the handshake and
// the frames of HTTP/2.
type Behaviour struct {
	// Share of all requests, more than 0 and at most 1.
	Share float64 `json:"share"`
	// ReadsPerSecond reads the response at so many bytes a second.
	ReadsPerSecond int64 `json:"reads_per_second,omitempty"`
	// StopsReadingAfter reads so many bytes of the response and no more, and
	// holds the connection open until the request's timeout.
	StopsReadingAfter int64 `json:"stops_reading_after,omitempty"`
	// SendsPerSecond sends the head at once and the body at so many bytes a
	// second. A request without a body is sent as it is.
	SendsPerSecond int64 `json:"sends_per_second,omitempty"`
	// HangsUpAfter closes the connection so long after the request was sent,
	// unless the response has ended by then.
	HangsUpAfter time.Duration `json:"hangs_up_after_ns,omitempty"`
}

// String says what the client does: "reads 1KiB/s".
func (b Behaviour) String() string {
	switch {
	case b.ReadsPerSecond != 0:
		return "reads " + size(b.ReadsPerSecond) + "/s"
	case b.StopsReadingAfter != 0:
		return "stops reading after " + size(b.StopsReadingAfter)
	case b.SendsPerSecond != 0:
		return "sends " + size(b.SendsPerSecond) + "/s"
	case b.HangsUpAfter != 0:
		return "hangs up after " + b.HangsUpAfter.String()
	}
	return "polite"
}

// size writes n bytes in the largest binary unit that leaves no fraction.
func size(n int64) string {
	unit := 0
	for n != 0 && n%1024 == 0 && unit < 3 {
		n /= 1024
		unit++
	}
	return fmt.Sprintf("%d%s", n, [...]string{"B", "KiB", "MiB", "GiB"}[unit])
}

// Validate says what is wrong with b.
func (b Behaviour) Validate() error {
	var errs []error
	// The negated form also refuses NaN.
	if !(b.Share > 0 && b.Share <= 1) {
		errs = append(errs, fmt.Errorf("share is %g; want more than 0, and 1 at most", b.Share))
	}
	var set []string
	for _, f := range []struct {
		name, unit string
		value      int64
	}{
		{"reads_per_second", "B/s", b.ReadsPerSecond},
		{"stops_reading_after", "B", b.StopsReadingAfter},
		{"sends_per_second", "B/s", b.SendsPerSecond},
		{"hangs_up_after", "ns", int64(b.HangsUpAfter)},
	} {
		if f.value != 0 {
			set = append(set, f.name)
		}
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %d %s; want more than 0", f.name, f.value, f.unit))
		}
	}
	switch len(set) {
	case 0:
		errs = append(errs, errors.New("want one of reads_per_second, stops_reading_after, sends_per_second, hangs_up_after"))
	case 1:
	default:
		errs = append(errs, fmt.Errorf("%s are set; want one of them", strings.Join(set, " and ")))
	}
	return errors.Join(errs...)
}
