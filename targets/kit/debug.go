package kit

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/pprof"
	"runtime/metrics"
)

// debugHandler serves net/http/pprof under /debug/pprof/ and runtime/metrics
// under /debug/metrics.
func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/metrics", serveMetrics)
	return mux
}

// serveMetrics answers with the runtime's metrics as one JSON object, name to
// number. The unit is the part of the name after the colon. Histograms are
// left out.
func serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// An error here means that the reader has gone.
	_ = json.NewEncoder(w).Encode(readMetrics())
}

func readMetrics() map[string]any {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if d.Kind == metrics.KindUint64 || d.Kind == metrics.KindFloat64 {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	values := make(map[string]any, len(samples))
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			values[s.Name] = s.Value.Uint64()
		case metrics.KindFloat64:
			// JSON has no infinities.
			if f := s.Value.Float64(); !math.IsInf(f, 0) && !math.IsNaN(f) {
				values[s.Name] = f
			}
		}
	}
	return values
}
