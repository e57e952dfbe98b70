package main

import (
	"bytes"
	"strconv"
)

// rowSize is the length of a line of a document, in bytes.
const rowSize = 64

// writeTitle begins a document.
func writeTitle(b *bytes.Buffer, kind string, o order) {
	b.WriteString(kind)
	b.WriteString(" no. ")
	b.Write(strconv.AppendUint(b.AvailableBuffer(), o.seq, 10))
	b.WriteString(" of ")
	b.WriteString(o.issued)
	b.WriteString("\nreference: ")
	b.WriteString(o.token)
	b.WriteByte('\n')
}

// writeRow writes line i of a document: its number, an article and its price.
func writeRow(b *bytes.Buffer, o order, i int) {
	const article = "  articles as ordered, delivered to the place agreed ........."
	start := b.Len()
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(i+1), 10))
	cents := priceOf(o.seq, i)
	b.WriteString(article[:rowSize-14-(b.Len()-start)])
	b.WriteByte(' ')
	b.Write(strconv.AppendInt(b.AvailableBuffer(), cents/100, 10))
	b.WriteByte('.')
	b.WriteByte(byte('0' + cents/10%10))
	b.WriteByte(byte('0' + cents%10))
	for b.Len()-start < rowSize-1 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
}

// writeTotal ends a document.
func writeTotal(b *bytes.Buffer, o order) {
	var cents int64
	for i := range o.rows {
		cents += priceOf(o.seq, i)
	}
	b.WriteString("total: ")
	b.Write(strconv.AppendInt(b.AvailableBuffer(), cents, 10))
	b.WriteString(" cents\n")
}

// priceOf is the price of line i of an order, in cents: any fixed function
// that stays under 10,000.00.
func priceOf(seq uint64, i int) int64 {
	return int64((seq*2654435761 + uint64(i)*40503) % 1_000_000)
}
