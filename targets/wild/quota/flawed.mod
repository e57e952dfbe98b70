module example.com/quota

go 1.24

require (
	github.com/gomodule/redigo v1.8.2
	github.com/gorilla/mux v1.8.1
)
