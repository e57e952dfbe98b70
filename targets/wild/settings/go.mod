module example.com/settings

go 1.24

require (
	github.com/fsnotify/fsnotify v1.6.0
	github.com/go-chi/chi/v5 v5.1.0
)

require golang.org/x/sys v0.20.0 // indirect
