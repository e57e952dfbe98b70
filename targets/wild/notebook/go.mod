module example.com/notebook

go 1.24

require (
	github.com/go-chi/chi/v5 v5.1.0
	github.com/gorilla/sessions v1.2.0
)

require github.com/gorilla/securecookie v1.1.1 // indirect
