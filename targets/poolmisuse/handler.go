package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"chokepoint/targets/kit"
)

// order is what a document is made of.
type order struct {
	seq    uint64
	token  string // the caller's reference, printed on the document
	rows   int    // lines of the document
	signed bool   // whether the caller signs for the document
	issued string // a date
}

// A document has usualRows lines unless the request asks for others, up to
// maxRows.
const (
	usualRows = 32
	maxRows   = 32 << 10
)

// renderer writes the document for an order as the response.
type renderer interface {
	render(ctx context.Context, w http.ResponseWriter, o order) error
}

// handler fetches the order of a request and has its document rendered.
type handler struct {
	orders *kit.Dependency
	docs   renderer
	issued string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	o, err := parseOrder(req.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o.issued = h.issued
	err = h.orders.Call(req.Context())
	if err == nil {
		err = h.docs.render(req.Context(), w, o)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// parseOrder reads seq, token, rows and signed. Only seq must be there.
func parseOrder(q url.Values) (order, error) {
	o := order{token: q.Get("token"), rows: usualRows, signed: q.Get("signed") == "true"}
	var err error
	if o.seq, err = strconv.ParseUint(q.Get("seq"), 10, 64); err != nil {
		return order{}, errors.New("seq: a whole number is needed")
	}
	if rows := q.Get("rows"); rows != "" {
		o.rows, err = strconv.Atoi(rows)
		if err != nil || o.rows < 0 || o.rows > maxRows {
			return order{}, fmt.Errorf("rows: a whole number from 0 to %d is needed", maxRows)
		}
	}
	return o, nil
}

// send answers with a whole document. An error means that the caller has
// gone, for whom there is nothing more to do.
func send(w http.ResponseWriter, doc []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	_, _ = w.Write(doc)
}
