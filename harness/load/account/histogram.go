package account

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"chokepoint/harness/bundle"
)

// Histogram is a finished HDR histogram with the exact count, sum and maximum.
// Its values are in the unit of the field that holds it. The zero value is empty.
// It is not changed once made, so copies may share it.
type Histogram struct {
	Count int64
	Sum   int64
	Max   int64

	// packed holds the counts of the buckets in order, as the payload of
	// HdrHistogram's V2 encoding does: each a zigzag varint, a negative one
	// standing for so many empty buckets. It ends with the last bucket that is not
	// empty, so equal histograms have equal bytes.
	packed []byte
}

// packer writes buckets in rising order.
type packer struct {
	out  []byte
	next int
}

func (w *packer) put(bucket int, count int64) {
	switch gap := bucket - w.next; {
	case gap == 1:
		w.out = append(w.out, 0)
	case gap > 1:
		w.out = binary.AppendVarint(w.out, int64(-gap))
	}
	// The encoding's own varints differ from Go's from 2^55 on; no attack makes as
	// many requests.
	w.out = binary.AppendVarint(w.out, count)
	w.next = bucket + 1
}

// unpacker reads buckets in rising order.
type unpacker struct {
	in   []byte
	next int
}

// more is the next bucket that is not empty; false: there is none.
func (r *unpacker) more() (bucket int, count int64, ok bool) {
	for len(r.in) > 0 {
		c, n := binary.Varint(r.in)
		if n <= 0 { // not of a packer's making
			return 0, 0, false
		}
		r.in = r.in[n:]
		if c < 0 {
			r.next += int(-c)
			continue
		}
		bucket, r.next = r.next, r.next+1
		if c > 0 {
			return bucket, c, true
		}
	}
	return 0, 0, false
}

// plus is the histogram of all that is in h and other.
func (h Histogram) plus(other Histogram) Histogram {
	switch {
	case other.Count == 0:
		return h
	case h.Count == 0:
		return other
	}
	out := Histogram{Count: h.Count + other.Count, Sum: h.Sum + other.Sum, Max: max(h.Max, other.Max)}
	a, b := unpacker{in: h.packed}, unpacker{in: other.packed}
	i, ci, moreA := a.more()
	j, cj, moreB := b.more()
	w := packer{out: make([]byte, 0, max(len(h.packed), len(other.packed)))}
	for moreA || moreB {
		switch {
		case !moreB || moreA && i < j:
			w.put(i, ci)
			i, ci, moreA = a.more()
		case !moreA || j < i:
			w.put(j, cj)
			j, cj, moreB = b.more()
		default:
			w.put(i, ci+cj)
			i, ci, moreA = a.more()
			j, cj, moreB = b.more()
		}
	}
	out.packed = w.out
	return out
}

// At is the value at each of the percentiles, which are 0 to 100 and must rise:
// the largest value of the bucket that holds it, and no more than the maximum.
func (h Histogram) At(percentiles ...float64) []int64 {
	values := make([]int64, len(percentiles))
	if h.Count == 0 {
		return values
	}
	r := unpacker{in: h.packed}
	var seen, value int64
	for i, p := range percentiles {
		rank := h.rank(p)
		for seen < rank {
			bucket, count, ok := r.more()
			if !ok {
				break
			}
			seen += count
			value = min(topOf(bucket), h.Max)
		}
		values[i] = value
	}
	return values
}

// rank is which of the values, counted from 1 in rising order, is a percentile.
func (h Histogram) rank(percentile float64) int64 {
	rank := percentile/100*float64(h.Count) + 0.5
	if rank >= float64(h.Count) { // as floats, since a large count is rounded there
		return h.Count
	}
	return max(1, int64(rank))
}

// Distribution is h with its values multiplied by unit.
func (h Histogram) Distribution(unit float64) bundle.Distribution {
	if h.Count == 0 {
		return bundle.Distribution{}
	}
	at := h.At(50, 90, 99, 99.9)
	return bundle.Distribution{
		Count: h.Count, Mean: float64(h.Sum) / float64(h.Count) * unit,
		P50: float64(at[0]) * unit, P90: float64(at[1]) * unit, P99: float64(at[2]) * unit, P999: float64(at[3]) * unit,
		Max: float64(h.Max) * unit,
	}
}

// wireHistogram is a Histogram as it travels.
type wireHistogram struct {
	Count int64 `json:"count"`
	Sum   int64 `json:"sum"`
	Max   int64 `json:"max"`
	// HDR is base64 of HdrHistogram's V2 compressed encoding.
	HDR string `json:"hdr"`
}

// MarshalJSON implements json.Marshaler.
func (h Histogram) MarshalJSON() ([]byte, error) { return new(encoder).wire(h) }

// wire is h as it travels.
func (e *encoder) wire(h Histogram) ([]byte, error) {
	if h.Count == 0 {
		return []byte("null"), nil
	}
	hdr, err := e.encode(h)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireHistogram{Count: h.Count, Sum: h.Sum, Max: h.Max, HDR: hdr})
}

// UnmarshalJSON implements json.Unmarshaler. It refuses figures that do not fit
// the buckets beside them.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	*h = Histogram{}
	if string(data) == "null" {
		return nil
	}
	var wire wireHistogram
	if err := json.Unmarshal(data, &wire); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	read, err := decode(wire.HDR)
	if err != nil {
		return err
	}
	switch {
	case read.Count != wire.Count:
		return fmt.Errorf("histogram: count is %d, and the buckets hold %d", wire.Count, read.Count)
	case wire.Max < 0 || wire.Max > highest || bucketOf(wire.Max) != bucketOf(read.Max):
		return fmt.Errorf("histogram: max is %d, and the buckets reach to %d", wire.Max, read.Max)
	case wire.Sum < 0:
		return errors.New("histogram: sum is negative")
	}
	read.Sum, read.Max = wire.Sum, wire.Max
	*h = read
	return nil
}
