package account

import "math/bits"

// The histograms are HDR histograms (https://hdrhistogram.org) of one geometry:
// values from 1, three significant digits, up to 2^40, which is a TiB in bytes and
// twelve days in microseconds. One geometry is what makes any two of a kind add up
// bucket by bucket.
//
// Values below 2048 have a bucket each; from there on every power of two is cut
// into 1024 buckets.
const (
	digits      = 3
	highest     = int64(1) << 40
	subBits     = 11 // 2^11 = 2048 is the first power of two from 2*10^digits on
	halfBuckets = 1 << (subBits - 1)
	// bucketCount covers highest, whose power of two needs a half of its own.
	bucketCount = (40 - subBits + 3) * halfBuckets
)

// bucketOf is the index of v, which must be 0 to highest.
func bucketOf(v int64) int {
	power := bits.Len64(uint64(v)|(1<<subBits-1)) - subBits
	return power<<(subBits-1) + int(v>>power)
}

// topOf is the largest value in a bucket.
func topOf(bucket int) int64 {
	power := max(0, bucket>>(subBits-1)-1)
	return int64(bucket-power<<(subBits-1)+1)<<power - 1
}

// dense counts values as they come. The zero value is not ready; see newDense.
type dense struct {
	counts   []int64
	from, to int // buckets that may hold something: from <= i < to
	n        int64
	sum, max int64
}

func newDense() *dense { return &dense{counts: make([]int64, bucketCount), from: bucketCount} }

// add counts v, which falls into bucket.
func (d *dense) add(bucket int, v int64) {
	d.counts[bucket]++
	d.from = min(d.from, bucket)
	d.to = max(d.to, bucket+1)
	d.n++
	d.sum += v
	d.max = max(d.max, v)
}

// record counts v, cut to what a histogram can hold.
func (d *dense) record(v int64) {
	v = clamp(v)
	d.add(bucketOf(v), v)
}

func (d *dense) reset() {
	if d.from < d.to {
		clear(d.counts[d.from:d.to])
	}
	d.from, d.to, d.n, d.sum, d.max = bucketCount, 0, 0, 0, 0
}

// histogram is what was counted, in compact form.
func (d *dense) histogram() Histogram {
	h := Histogram{Count: d.n, Sum: d.sum, Max: d.max}
	var w packer
	for i := d.from; i < d.to; i++ {
		if c := d.counts[i]; c != 0 {
			w.put(i, c)
		}
	}
	h.packed = w.out
	return h
}

func clamp(v int64) int64 { return min(max(v, 0), highest) }
