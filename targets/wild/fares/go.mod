module example.com/fares

go 1.24

require github.com/eapache/go-resiliency v1.3.0
