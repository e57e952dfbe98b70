module example.com/logs

go 1.24

require (
	go.opentelemetry.io/proto/otlp v1.0.0
	google.golang.org/protobuf v1.33.0
)
