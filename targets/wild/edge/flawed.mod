module example.com/edge

go 1.24.0

require go.opentelemetry.io/otel v1.39.0

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.opentelemetry.io/otel/trace v1.39.0 // indirect
)
