package account

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The V2 encoding is described by the Java library that defines it
// (org.HdrHistogram.EncodableHistogram): a cookie and a length, then, deflated, a
// header of 40 bytes and the packed counts. 0x10 in a cookie says that counts are
// varints.
const (
	cookieCounts     = uint32(hdrhistogram.V2EncodingCookieBase) | 0x10
	cookieCompressed = uint32(hdrhistogram.V2CompressedEncodingCookieBase) | 0x10
)

// encoder makes base64 of the V2 compressed encoding. It is used again for the
// next histogram, because most of the cost is what deflating begins with, over a
// megabyte. The counts are already as the encoding wants them; by way of the
// library's arrays they would cost several times as much, and an attack of ten
// minutes has over a thousand histograms.
type encoder struct {
	out     bytes.Buffer
	deflate *zlib.Writer
}

func (e *encoder) encode(h Histogram) (string, error) {
	counts := h.packed
	if len(counts) == 0 {
		counts = []byte{0} // as other writers do for an empty histogram
	}
	header := binary.BigEndian.AppendUint32(nil, cookieCounts)
	header = binary.BigEndian.AppendUint32(header, uint32(len(counts)))
	header = binary.BigEndian.AppendUint32(header, 0) // counts are not shifted
	header = binary.BigEndian.AppendUint32(header, digits)
	header = binary.BigEndian.AppendUint64(header, 1) // lowest value told from 0
	header = binary.BigEndian.AppendUint64(header, uint64(highest))
	header = binary.BigEndian.AppendUint64(header, math.Float64bits(1)) // values are integers

	e.out.Reset()
	e.out.Write(binary.BigEndian.AppendUint32(nil, cookieCompressed))
	e.out.Write(make([]byte, 4)) // the length, once it is known
	if e.deflate == nil {
		var err error
		if e.deflate, err = zlib.NewWriterLevel(&e.out, zlib.BestSpeed); err != nil {
			return "", fmt.Errorf("histogram: deflate: %w", err)
		}
	} else {
		e.deflate.Reset(&e.out)
	}
	for _, part := range [][]byte{header, counts} {
		if _, err := e.deflate.Write(part); err != nil {
			return "", fmt.Errorf("histogram: deflate: %w", err)
		}
	}
	if err := e.deflate.Close(); err != nil {
		return "", fmt.Errorf("histogram: deflate: %w", err)
	}
	binary.BigEndian.PutUint32(e.out.Bytes()[4:], uint32(e.out.Len()-8))
	return base64.StdEncoding.EncodeToString(e.out.Bytes()), nil
}

// longestHDR bounds what decode looks at: all buckets of the geometry, each with
// a varint of nine bytes that did not shrink, in base64.
const longestHDR = (bucketCount*9 + 1024) / 3 * 4

// decode reads what encode writes. The sum is then missing, and the maximum is
// the largest value of the last bucket.
func decode(hdr string) (Histogram, error) {
	if len(hdr) > longestHDR {
		return Histogram{}, fmt.Errorf("histogram: %d bytes are more than one can have (%d)", len(hdr), longestHDR)
	}
	read, err := hdrhistogram.DecodePacked([]byte(hdr))
	if err != nil {
		return Histogram{}, fmt.Errorf("histogram: %w", err)
	}
	if low, high, d := read.LowestTrackableValue(), read.HighestTrackableValue(), read.SignificantFigures(); low != 1 || high != highest || d != digits {
		return Histogram{}, fmt.Errorf("histogram: values %d to %d in %d digits; want 1 to %d in %d", low, high, d, highest, digits)
	}
	var (
		h Histogram
		w packer
	)
	read.ForEachBucket(func(value, count int64) bool {
		if count > mostCount-h.Count {
			err = fmt.Errorf("histogram: the buckets hold more than %d values", mostCount)
			return false
		}
		bucket := bucketOf(value)
		w.put(bucket, count)
		h.Count += count
		h.Max = min(topOf(bucket), highest)
		return true
	})
	if err != nil {
		return Histogram{}, err
	}
	h.packed = w.out
	return h, nil
}

// mostCount is the largest count that Go's varints and the encoding's own write alike.
const mostCount = int64(1)<<55 - 1
