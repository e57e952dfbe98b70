package main

import (
	"bytes"
	"context"
	"net/http"
	"sync"
)

// invoiceRoom holds the largest invoice, so that rendering one never grows a buffer.
const invoiceRoom = 64 << 10

// invoices renders invoices.
type invoices struct {
	buffers sync.Pool
	recycle bool
}

func newInvoices(recycle bool) *invoices {
	return &invoices{buffers: sync.Pool{New: newInvoiceBuffer}, recycle: recycle}
}

func newInvoiceBuffer() any { return bytes.NewBuffer(make([]byte, 0, invoiceRoom)) }

func (v *invoices) render(_ context.Context, w http.ResponseWriter, o order) error {
	b := v.buffers.Get().(*bytes.Buffer) // chokepoint:flaw pool-misuse
	b.Reset()
	writeTitle(b, "INVOICE", o)
	for i := range o.rows {
		writeRow(b, o, i)
	}
	writeTotal(b, o)
	send(w, b.Bytes())
	if v.recycle {
		v.buffers.Put(b)
	}
	return nil
}
