package main

import (
	"bytes"
	"context"
	"net/http"
	"sync"
)

// receipts renders receipts from pooled forms.
type receipts struct {
	forms sync.Pool // of *form
	clear bool
}

func newReceipts(clear bool) *receipts {
	return &receipts{clear: clear, forms: sync.Pool{New: func() any { return new(form) }}}
}

func (r *receipts) render(_ context.Context, w http.ResponseWriter, o order) error {
	f := r.forms.Get().(*form) // chokepoint:flaw pool-misuse
	if r.clear {
		f.reset()
	}
	f.fill(o)
	send(w, f.print())
	r.forms.Put(f)
	return nil
}

// form is a receipt being made out. Who signs for it is told only of orders
// that are signed for.
type form struct {
	order    order
	signedBy string
	page     bytes.Buffer
}

// reset makes f as good as new, but for the room it has.
func (f *form) reset() {
	f.order = order{}
	f.signedBy = ""
	f.page.Reset()
}

func (f *form) fill(o order) {
	f.order = o
	if o.signed {
		f.signedBy = o.token
	}
}

// print returns the receipt; it is good until f is filled in again.
func (f *form) print() []byte {
	f.page.Reset()
	writeTitle(&f.page, "RECEIPT", f.order)
	for i := range f.order.rows {
		writeRow(&f.page, f.order, i)
	}
	writeTotal(&f.page, f.order)
	if f.signedBy != "" {
		f.page.WriteString("signed for by the holder of ")
		f.page.WriteString(f.signedBy)
		f.page.WriteByte('\n')
	}
	return f.page.Bytes()
}
