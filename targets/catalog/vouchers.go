package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// seal is what a voucher's number is proved by: its hash, hashed again and again.
func seal(voucher, rounds int) string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("voucher"), uint64(voucher)))
	for range rounds {
		sum = sha256.Sum256(sum[:])
	}
	return hex.EncodeToString(sum[:8])
}
