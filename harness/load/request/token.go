package request

import "math/rand/v2"

// TokenHeader carries a request's token when its response is checked for it.
const TokenHeader = "X-Request-Token"

// A token is tokenPrefix and tokenHex lower-case hexadecimal digits. No
// character of the prefix is a hexadecimal digit, and its first occurs in it
// only once, so that a scan never has to step back. It needs no escaping in
// URLs, headers, JSON or HTML.
const (
	tokenPrefix = "tkn_"
	runHex      = 8
	mixedHex    = 16
	tokenLen    = len(tokenPrefix) + runHex + mixedHex
)

// tokens makes the tokens of one source.
type tokens struct {
	run uint32 // tells this source from those of other attacks
}

func newTokens() tokens { return tokens{run: rand.Uint32()} }

// appendTo appends the token of request n. Mixing is a bijection and the same in
// every process: as no two requests of an attack share a number, no two share a
// token, and a neighbour's token cannot be had by counting. The constants are
// those of SplitMix64's finalizer.
func (t tokens) appendTo(dst []byte, n uint64) []byte {
	x := n + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	dst = append(dst, tokenPrefix...)
	dst = appendHex(dst, uint64(t.run), runHex)
	return appendHex(dst, x, mixedHex)
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const hexDigits = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[v>>(4*i)&0xf])
	}
	return dst
}
