module example.com/events

go 1.24

require (
	github.com/go-chi/chi/v5 v5.1.0
	github.com/go-resty/resty/v2 v2.11.0
)

require golang.org/x/net v0.17.0 // indirect
