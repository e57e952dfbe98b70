module example.com/notebook

go 1.24

require (
	github.com/go-chi/chi/v5 v5.1.0
	github.com/gorilla/sessions v1.1.3
)

require (
	github.com/gorilla/context v1.1.1 // indirect
	github.com/gorilla/securecookie v1.1.1 // indirect
)
