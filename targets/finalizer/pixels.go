package main

import "encoding/binary"

const (
	pixelBytes  = 4 // RGBA
	thumbPixels = 16 * 16
	thumbBytes  = thumbPixels * pixelBytes
)

// decode returns original n in size bytes of pixels.
func decode(n uint64, size int) []byte {
	pix := make([]byte, size)
	filled := binary.PutUvarint(pix, n+1)
	for filled < size {
		filled += copy(pix[filled:], pix[:filled])
	}
	return pix
}

// scale fills thumb with pixels of original, evenly picked.
func scale(thumb, original []byte) {
	pixels := len(original) / pixelBytes
	for i := range len(thumb) / pixelBytes {
		from := i * pixels / thumbPixels * pixelBytes
		copy(thumb[i*pixelBytes:], original[from:from+pixelBytes])
	}
}
