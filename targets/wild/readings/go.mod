module example.com/readings

go 1.24

require github.com/influxdata/influxdb-client-go/v2 v2.12.1

require (
	github.com/deepmap/oapi-codegen v1.8.2 // indirect
	github.com/influxdata/line-protocol v0.0.0-20200327222509-2487e7298839 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/net v0.20.0 // indirect
)
